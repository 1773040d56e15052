"""All neurons of one block scored, keeping of each linear layer only the narrower of its two sides for all tokens.

A layer that widens (gate, up, fc1) keeps its inputs, one tensor for layers that get the very same one, and its outputs
are computed again a chunk of neurons at a time: float32, neuron-major, so that sorting runs over contiguous rows. A
layer that narrows (down, fc2) keeps its float32 outputs, computed beside the model's own, and the inputs of the paired
tokens. Memory is therefore about one (tokens, d_model) tensor per kept side, whatever the width of the layers between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from app.errors import ModelError, NumericsError
from app.schemas.model import Projection
from app.store.keys import ARRAYS
from app.store.scores import SCHEMA
from worker.jobs.layer_inputs import same
from worker.numerics.errors import NumericsFailure
from worker.numerics.mapping import PairDistances, TokenPairs, pair_distances
from worker.numerics.reference import ScoreReference
from worker.numerics.scoring import NeuronScores, score_outputs
from worker.numerics.weights import weight_stats

UNIT = 32
"""Neurons that are multiplied together, whatever the chunk: products of another shape round differently."""


@dataclass(frozen=True)
class Linear:
    """One projection with its weight (out, in) and bias (out,) or None, as the model holds them."""

    projection: Projection
    weight: Tensor
    bias: Tensor | None

    @property
    def widens(self) -> bool:
        """Whether its inputs are the narrower side."""
        return self.projection.in_features <= self.projection.out_features


@dataclass
class _Narrowing:
    """What is kept of a layer whose outputs are the narrower side."""

    outputs: Tensor  # (tokens, out) float32
    paired: Tensor  # (2 * pairs, in): inputs of the pairs' first tokens, then of their second


@dataclass
class Kept:
    """What is kept of one block's linear layers while its batches run."""

    linears: list[Linear]
    reference: ScoreReference
    inputs: dict[str, Tensor] = field(default_factory=dict)  # (tokens, in) by module
    shared: dict[str, str] = field(default_factory=dict)  # module to the module whose inputs it shares
    narrowing: dict[str, _Narrowing] = field(default_factory=dict)  # by projection

    def take(self, inputs: Mapping[str, Tensor], start: int) -> None:
        """Take one batch: `inputs[module]` is (B, T, in) as that module received it; its first token is `start`."""
        for linear in self.linears:
            given = inputs.get(linear.projection.module)
            if given is None:
                raise ModelError(
                    f"The model never calls '{linear.projection.module}' on its inputs.",
                    hint="Its feed-forward network is not built of plain linear layers; it cannot be scored.",
                )
            flat = given.reshape(-1, given.shape[-1])
            if linear.widens:
                self._take_inputs(linear, flat, inputs, start)
            else:
                self._take_outputs(linear, flat, start)

    def _take_inputs(self, linear: Linear, flat: Tensor, inputs: Mapping[str, Tensor], start: int) -> None:
        module = linear.projection.module
        owner = next(other for other, given in inputs.items() if same(given, inputs[module]))
        if self.shared.setdefault(module, owner) != owner:
            raise ModelError(f"'{module}' shares its inputs with another layer in some batches only.")
        if owner not in self.inputs:
            self.inputs[owner] = flat.new_empty(self.reference.tokens, flat.shape[1])
        self.inputs[owner][start : start + len(flat)] = flat

    def _take_outputs(self, linear: Linear, flat: Tensor, start: int) -> None:
        pairs, stop = self.reference.pairs, start + len(flat)
        kept = self.narrowing.get(linear.projection.name)
        if kept is None:
            kept = _Narrowing(
                flat.new_empty(self.reference.tokens, linear.projection.out_features, dtype=torch.float32),
                flat.new_empty(2 * len(pairs.first), flat.shape[1]),
            )
            self.narrowing[linear.projection.name] = kept
        product = torch.matmul(flat.float(), linear.weight.float().T)
        kept.outputs[start:stop] = product if linear.bias is None else product + linear.bias.float()
        wanted = torch.cat([pairs.first, pairs.second]).to(flat.device)
        here = ((wanted >= start) & (wanted < stop)).nonzero()[:, 0]
        kept.paired[here] = flat[wanted[here] - start]

    def distances(self, linear: Linear) -> PairDistances:
        """Distances of the pairs of the layer's inputs."""
        pairs = self.reference.pairs
        if linear.widens:
            return pair_distances(self.inputs[self.shared[linear.projection.module]], pairs)
        count = len(pairs.first)
        found = pair_distances(
            self.narrowing[linear.projection.name].paired,
            TokenPairs(torch.arange(count), torch.arange(count, 2 * count)),
        )
        used = found.pairs.first  # places in the list of pairs: back to tokens
        return PairDistances(
            TokenPairs(pairs.first[used], pairs.second[used]), found.distances, found.left_out
        )

    def outputs(self, linear: Linear, chunk_bytes: int) -> Iterator[Tensor]:
        """The layer's outputs as (neurons, tokens) float32 chunks of about `chunk_bytes`, UNIT neurons at least."""
        rows = chunk_rows(self.reference.tokens, chunk_bytes)
        if not linear.widens:
            kept = self.narrowing[linear.projection.name].outputs
            for start in range(0, kept.shape[1], rows):
                yield kept[:, start : start + rows].T.contiguous()
            return
        inputs = self.inputs[self.shared[linear.projection.module]].float().T
        for start in range(0, linear.weight.shape[0], rows):
            weight = linear.weight[start : start + rows].float()
            chunk = weight.new_empty(len(weight), self.reference.tokens)
            for unit in range(0, len(weight), UNIT):
                torch.mm(weight[unit : unit + UNIT], inputs, out=chunk[unit : unit + UNIT])
            if linear.bias is not None:
                chunk += linear.bias[start : start + rows].float()[:, None]
            yield chunk


def chunk_rows(tokens: int, chunk_bytes: int) -> int:
    """Neurons whose outputs for `tokens` tokens fill a chunk of about `chunk_bytes`."""
    return max(1, chunk_bytes // (4 * tokens * UNIT)) * UNIT


def score_linear(
    kept: Kept, linear: Linear, layer: int, chunk_bytes: int, tell: Callable[[int], None]
) -> tuple[pa.Table, dict[str, np.ndarray[Any, Any]]]:
    """Table (`app.store.scores.SCHEMA`) and arrays of one layer's neurons; `tell(neurons done)` after each chunk.

    Raises NumericsError, naming block and projection, on NaN or infinity.
    """
    name, parts, done = linear.projection.name, [], 0
    try:
        distances = kept.distances(linear)
        for outputs in kept.outputs(linear, chunk_bytes):
            parts.append(score_outputs(outputs, kept.reference, distances))
            done += len(outputs)
            tell(done)
    except NumericsFailure as failure:
        counted = f", counted from neuron {done}" if done else ""
        raise NumericsError(
            f"Block {layer}, {name}{counted}: {failure.detail}",
            hint=failure.hint or "Check the model's weights.",
        ) from failure
    joined = {f.name: torch.cat([getattr(p, f.name) for p in parts]).numpy() for f in fields(NeuronScores)}
    stats = weight_stats(linear.weight)
    joined |= {f.name: getattr(stats, f.name).numpy() for f in fields(stats)}
    count = linear.projection.out_features
    joined |= {"layer": np.full(count, layer), "index": np.arange(count)}
    columns = {
        column: pa.array(joined[column], SCHEMA.field(column).type, from_pandas=True)  # NaN becomes null
        for column in SCHEMA.names
        if column != "projection"
    }
    columns["projection"] = pa.array([name] * count)
    table = pa.table({column: columns[column] for column in SCHEMA.names}, schema=SCHEMA)
    return table, {array: joined[array] for array in ARRAYS}
