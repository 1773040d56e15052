"""Questions to one neuron's stored outputs: the tokens of a range, the pairs behind MD. Arrays in, schemas out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.schemas.outputs import NeuronOutputs, NeuronPairs, OutputsQuery, OutputToken, TokenPair
from app.store.tokens import TokenStream

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Outputs:
    """One neuron's outputs and what is needed to show their tokens."""

    values: NDArray[Any]
    """(tokens,) float32."""
    stream: TokenStream
    experts: NDArray[Any] | None = None
    """(tokens,): expert of each token; None where no expansion is looked at."""

    def token(self, position: int) -> OutputToken:
        """One token in its text."""
        example = self.stream.example(position, float(self.values[position]))
        expert = None if self.experts is None else int(self.experts[position])
        return OutputToken(**example.model_dump(), expert=expert)


def tokens_of(outputs: Outputs, query: OutputsQuery) -> NeuronOutputs:
    """The tokens of a range of outputs or quantiles, sorted, `limit` of them from `offset` on."""
    found = _ordered(outputs.values, _chosen(outputs.values, query), query.sort, query.seed)
    values = outputs.values[found]
    here = found[query.offset : query.offset + query.limit]
    return NeuronOutputs(
        items=[outputs.token(int(position)) for position in here],
        total=len(found),
        limit=query.limit,
        offset=query.offset,
        low=float(values.min(initial=np.inf)) if len(found) else 0.0,
        high=float(values.max(initial=-np.inf)) if len(found) else 0.0,
        tokens=len(outputs.values),
        expert_tokens=_by_expert(outputs.experts, found),
    )


def _chosen(values: NDArray[Any], query: OutputsQuery) -> Positions:
    """Positions of the range, ascending."""
    if query.from_quantile is not None or query.to_quantile is not None:
        start = round((query.from_quantile or 0.0) * len(values))
        stop = round((1.0 if query.to_quantile is None else query.to_quantile) * len(values))
        return np.sort(np.argsort(values, kind="stable")[start:stop])
    inside = np.ones(len(values), dtype=bool)
    if query.low is not None:
        inside &= values.astype(np.float64) >= query.low
    if query.high is not None:
        inside &= values.astype(np.float64) <= query.high
    return np.flatnonzero(inside)


def _ordered(values: NDArray[Any], positions: Positions, sort: str, seed: int) -> Positions:
    if sort == "position":
        return positions
    if sort == "random":
        return np.random.Generator(np.random.PCG64([seed, 4])).permutation(positions)
    keys = values[positions]
    return positions[np.argsort(-keys if sort.startswith("-") else keys, kind="stable")]


def _by_expert(experts: NDArray[Any] | None, positions: Positions) -> dict[int, int]:
    if experts is None:
        return {}
    numbers, counts = np.unique(experts[positions], return_counts=True)
    most = np.argsort(-counts, kind="stable")
    return {int(numbers[i]): int(counts[i]) for i in most}


def pairs_of(
    outputs: Outputs, table: pa.Table, left_out: int, *, points: int, hardest: int, seed: int
) -> NeuronPairs:
    """The pairs behind MD: `points` of them drawn with `seed`, and the `hardest` of all with their texts.

    table: `outputs.PAIRS_SCHEMA`. Scales and guards as in `worker.numerics.mapping`.
    """
    first, second = table["first"].to_numpy(), table["second"].to_numpy()
    inputs = table["distance"].to_numpy().astype(np.float64)
    apart = np.abs(outputs.values[first].astype(np.float64) - outputs.values[second].astype(np.float64))
    if not len(apart):
        return NeuronPairs(
            pairs=0,
            left_out=left_out,
            md=None,
            input_scale=0.0,
            output_scale=0.0,
            input_distances=[],
            output_distances=[],
            hardest=[],
        )
    input_scale, output_scale = float(inputs.max()), float(np.median(apart))
    if output_scale == 0:
        positive = apart[apart > 0]
        output_scale = float(np.median(positive)) if len(positive) else 1.0
    x, y = inputs / input_scale, apart / output_scale
    difficulty = y / x
    constant = bool(np.ptp(outputs.values) <= 2.0**-23 * np.abs(outputs.values).max())
    generator = np.random.Generator(np.random.PCG64([seed, 5]))
    drawn = np.sort(generator.permutation(len(x))[:points])
    worst = np.argsort(-difficulty, kind="stable")[:hardest]
    return NeuronPairs(
        pairs=len(x),
        left_out=left_out,
        md=None if constant else float(difficulty.mean()),
        input_scale=input_scale,
        output_scale=output_scale,
        input_distances=_short(x[drawn]),
        output_distances=_short(y[drawn]),
        hardest=[
            TokenPair(
                first=outputs.token(int(first[i])),
                second=outputs.token(int(second[i])),
                input_distance=float(x[i]),
                output_distance=float(y[i]),
                difficulty=float(difficulty[i]),
            )
            for i in worst
        ],
    )


def _short(values: NDArray[np.float64]) -> Sequence[float]:
    """Six significant digits: what a plot shows, at half the size."""
    return [float(f"{value:.6g}") for value in values]
