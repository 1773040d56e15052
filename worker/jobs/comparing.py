"""A layer's changed outputs beside the dense ones, a chunk of neurons at a time, as the store keeps them.

Dense outputs come from the dense model's inputs, changed ones from the inputs that the changed layer gets: the same
tensor for a layer changed alone, another one where the blocks before were changed too. Memory: both inputs in float32,
and a few chunks of (neurons, tokens) outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from app.store.variants import SCHEMA
from worker.jobs.makers import Made
from worker.jobs.weights_file import all_experts
from worker.models.block import ProjectionWeight
from worker.models.changes import Experts
from worker.numerics.bins import SharedBins
from worker.numerics.effects import Comparison, compare_outputs, joined
from worker.numerics.expansion import Segments
from worker.numerics.expert_effects import ExpertComparison, compare_experts, expert_pairs

CHUNK_NEURONS = 64
"""Least neurons of a chunk."""


@dataclass(frozen=True)
class LayerEffects:
    """Comparisons of all neurons of a layer. Fields as in `app.store.variants.LayerArtifacts`."""

    neurons: pa.Table
    counts: np.ndarray[Any, Any]
    relative_error: float
    expert_counts: np.ndarray[Any, Any] | None = None
    expert_wd: np.ndarray[Any, Any] | None = None
    labels: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class Comparer:
    """How layers are compared: working memory, pairs for MD, and its seed."""

    chunk_bytes: int
    pairs: int
    seed: int
    tell: Callable[[float], None]

    def pruned(
        self, linear: ProjectionWeight, weight: Tensor, dense: Tensor, inputs: Tensor, bins: SharedBins
    ) -> LayerEffects:
        """A pruned layer. dense, inputs: (tokens, in) of the dense and of the changed model."""
        dense_columns = dense.float().T
        columns = dense_columns if inputs is dense else inputs.float().T
        parts = []
        for here in self._chunks(linear, inputs):
            outputs = linear_outputs(linear.weight, linear.bias, dense_columns, here)
            changed = linear_outputs(weight, linear.bias, columns, here)
            parts.append(compare_outputs(outputs, changed, bins.rows(here)))
        found = joined(parts)
        return LayerEffects(
            neurons=_table(found, weight.unsqueeze(0)),
            counts=found.counts.numpy(),
            relative_error=found.relative_error,
        )

    def expanded(
        self,
        linear: ProjectionWeight,
        experts: Experts,
        labels: Tensor,
        dense: Tensor,
        inputs: Tensor,
        bins: SharedBins,
    ) -> LayerEffects:
        """An expanded layer. labels: (tokens,) int64, the expert that computes each token."""
        weights = all_experts(experts)
        count = len(weights)
        layer = expert_pairs(inputs, labels, count, pairs=self.pairs, seed=self.seed)
        dense_columns = dense.float().T
        columns = inputs.float()[layer.parts.order.to(inputs.device)]
        parts: list[Comparison] = []
        shares: list[ExpertComparison] = []
        for here in self._chunks(linear, inputs):
            outputs = linear_outputs(linear.weight, linear.bias, dense_columns, here)
            changed = expert_outputs(weights, linear.bias, columns, layer.parts, here)
            parts.append(compare_outputs(outputs, changed, bins.rows(here)))
            shares.append(compare_experts(changed, layer, bins.rows(here)))
        found = joined(parts)
        weighted = (torch.cat([s.weighted_wd for s in shares]), torch.cat([s.weighted_md for s in shares]))
        return LayerEffects(
            neurons=_table(found, weights, *weighted),
            counts=found.counts.numpy(),
            relative_error=found.relative_error,
            expert_counts=torch.cat([s.counts for s in shares]).numpy(),
            expert_wd=torch.cat([s.wd for s in shares]).numpy(),
            labels=labels.cpu().numpy(),
        )

    def _chunks(self, linear: ProjectionWeight, inputs: Tensor) -> Iterator[slice]:
        neurons = linear.projection.out_features
        for here in neuron_chunks(neurons, len(inputs), self.chunk_bytes):
            yield here
            self.tell(here.stop / neurons)


def neuron_chunks(neurons: int, tokens: int, chunk_bytes: int) -> Iterator[slice]:
    """Neurons whose float32 outputs fit `chunk_bytes`; CHUNK_NEURONS at least."""
    step = max(CHUNK_NEURONS, chunk_bytes // (4 * max(1, tokens)))
    for start in range(0, neurons, step):
        yield slice(start, min(start + step, neurons))


def compare(made: Made, dense: Tensor, inputs: Tensor, bins: SharedBins, comparer: Comparer) -> LayerEffects:
    """`made` against its dense layer; the calibration's own clusters where inputs are the calibration's."""
    if not isinstance(made.change, Experts):
        return comparer.pruned(made.linear, made.change, dense, inputs, bins)
    labels = made.labels
    if labels is None or inputs is not dense:
        labels = made.change.router.assign(inputs)
    return comparer.expanded(made.linear, made.change, labels, dense, inputs, bins)


def linear_outputs(weight: Tensor, bias: Tensor | None, columns: Tensor, here: slice) -> Tensor:
    """(neurons, tokens) float32 outputs of some neurons for (in, tokens) float32 inputs."""
    product = torch.mm(weight[here].float(), columns)
    return product if bias is None else product.add_(bias[here].float()[:, None])


def expert_outputs(
    weights: Tensor, bias: Tensor | None, ordered: Tensor, parts: Segments, here: slice
) -> Tensor:
    """The same from experts (experts, out, in), for (tokens, in) float32 inputs in the order of `parts`."""
    rows = weights[:, here].float()
    found = rows.new_empty(rows.shape[1], len(ordered))
    order = parts.order.to(found.device)
    for weight, tokens in zip(rows, parts.slices(), strict=True):
        if tokens.stop > tokens.start:
            found[:, order[tokens]] = torch.mm(weight, ordered[tokens].T)
    return found if bias is None else found.add_(bias[here].float()[:, None])


def _table(
    found: Comparison, weights: Tensor, weighted_wd: Tensor | None = None, weighted_md: Tensor | None = None
) -> pa.Table:
    count = len(found.wd)
    zeros = (weights == 0).sum(dim=(0, 2)).cpu().double() / (weights.shape[0] * weights.shape[2])
    nothing = torch.full((count,), torch.nan, dtype=torch.float64)
    columns = {
        "index": torch.arange(count),
        "wd": found.wd,
        "w1": found.w1,
        "rmse": found.rmse,
        "zero_share": zeros,
        "weighted_wd": nothing if weighted_wd is None else weighted_wd,
        "weighted_md": nothing if weighted_md is None else weighted_md,
        "low": found.low,
        "width": found.width,
    }
    arrays = [
        pa.array(columns[name].numpy(), SCHEMA.field(name).type, from_pandas=True) for name in SCHEMA.names
    ]
    return pa.table(arrays, schema=SCHEMA)
