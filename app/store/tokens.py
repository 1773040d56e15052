"""A run's token stream, and a token with the text around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from app.schemas.neuron import NeuronTokens, TokenExample

SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("window", pa.int32()),
        ("offset", pa.int32()),
        ("token", pa.int32()),
        ("piece", pa.string()),
    ]
)
"""`tokens.parquet`: one row per token, in order; `piece` is the token's text."""

CONTEXT_TOKENS = 24
"""Tokens shown before and after an example, inside its window."""


class TokenStream:
    """The stream in a form that answers in microseconds."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._window: np.ndarray[Any, Any] = table["window"].to_numpy()
        self._offset = table["offset"].to_numpy()
        self._piece: pa.Array = table["piece"].combine_chunks()

    @property
    def windows(self) -> np.ndarray[Any, Any]:
        """(tokens,) number of each token's window."""
        return self._window

    def examples(self, positions: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> NeuronTokens:
        """Examples from (3, 16) positions (high, low, random; -1 for none) and the outputs there."""
        high, low, random = (
            [self.example(int(p), float(v)) for p, v in zip(row, outputs, strict=True) if p >= 0]
            for row, outputs in zip(positions, values, strict=True)
        )
        return NeuronTokens(high=high, low=low, random=random)

    def example(self, position: int, value: float) -> TokenExample:
        """The token at `position` and the text around it in its window."""
        window, offset = int(self._window[position]), int(self._offset[position])
        start = position - min(offset, CONTEXT_TOKENS)
        stop = min(position + CONTEXT_TOKENS + 1, len(self._piece))
        while self._window[stop - 1] != window:
            stop -= 1
        pieces = self._piece.slice(start, stop - start).to_pylist()
        here = position - start
        return TokenExample(
            position=position,
            window=window,
            offset=offset,
            value=value,
            token=pieces[here],
            before="".join(pieces[:here]),
            after="".join(pieces[here + 1 :]),
        )
