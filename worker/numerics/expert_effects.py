"""What expansion did to each neuron within each expert's cluster of tokens (paper, Fig. 1 and 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.numerics.bins import BINS, SharedBins
from worker.numerics.effects import distance_to_normal, row_chunks
from worker.numerics.errors import NumericsFailure
from worker.numerics.expansion import Segments, segments
from worker.numerics.histogram import count_from
from worker.numerics.mapping import (
    PairDistances,
    TokenPairs,
    mapping_difficulty,
    pair_distances,
    random_pairs,
)
from worker.numerics.sorting import refuse_non_finite, sorted_rows
from worker.numerics.wasserstein import NormalTable, normal_table
from worker.numerics.workspace import Workspace


@dataclass(frozen=True)
class ExpertPairs:
    """What a layer's neurons share: tokens by expert, pairs within each cluster. Made once for all its neurons."""

    parts: Segments
    """Tokens by expert."""
    distances: tuple[PairDistances | None, ...]
    """For each expert: pairs of places within its cluster and the distances of their inputs; None under 2 tokens."""
    tables: tuple[NormalTable | None, ...]
    """For each expert: the normal's quantiles for as many tokens; None under 2."""

    @property
    def tokens(self) -> int:
        """Tokens of all experts."""
        return sum(self.parts.sizes)


@dataclass(frozen=True)
class ExpertComparison:
    """Metrics of (neurons,) neurons within each cluster, and their means weighted by cluster size; on the CPU.

    Clusters without a value for a neuron are left out of its means, which are over the tokens of the others.
    """

    weighted_wd: Tensor
    """(neurons,) float64: sum over clusters of n_c / n * WD_c; NaN where no cluster has a WD."""
    weighted_md: Tensor
    """(neurons,) float64: likewise of MD."""
    wd: Tensor
    """(neurons, experts) float32; NaN where the neuron is constant in the cluster or the cluster has under 2 tokens."""
    counts: Tensor
    """(neurons, experts, 192) int32: the cluster's outputs in the shared bins."""


def expert_pairs(
    inputs: Tensor, labels: Tensor, experts: int, *, pairs: int = 50_000, seed: int = 0
) -> ExpertPairs:
    """Pairs within each cluster of a layer's (tokens, in) inputs, any float dtype.

    labels: (tokens,) int64, expert of each token. pairs: at most, over all clusters, in proportion to their sizes.
    Raises NumericsFailure when labels and inputs do not fit or inputs are not finite.
    """
    if labels.shape != inputs.shape[:1]:
        raise NumericsFailure(f"{len(labels)} tokens have an expert and {len(inputs)} have inputs")
    parts = segments(labels, experts)
    distances: list[PairDistances | None] = []
    for size, here in zip(parts.sizes, parts.slices(), strict=True):
        if size < 2:
            distances.append(None)
            continue
        places = parts.order[here].to(inputs.device)
        chosen = random_pairs(size, max(1, pairs * size // len(labels)), seed)
        local = TokenPairs(chosen.first.to(inputs.device), chosen.second.to(inputs.device))
        distances.append(pair_distances(inputs[places], local))
    tables = tuple(normal_table(size) if size >= 2 else None for size in parts.sizes)
    return ExpertPairs(parts, tuple(distances), tables)


def compare_experts(changed: Tensor, layer: ExpertPairs, bins: SharedBins) -> ExpertComparison:
    """WD, MD and counts of (neurons, tokens) outputs within each expert's cluster; no argument is changed.

    changed: any float dtype, on any device. layer: of the layer's inputs, from `expert_pairs`. bins: of these
    neurons, from `shared_bins`. Each cluster's outputs are sorted once.
    Raises NumericsFailure on NaN or infinity, naming the first such neuron, and when the shapes do not fit.
    """
    if changed.ndim != 2 or changed.shape[1] != layer.tokens or len(changed) != len(bins.width):
        raise NumericsFailure(
            f"outputs have shape {tuple(changed.shape)}; ({len(bins.width)}, {layer.tokens}) was expected"
        )
    values = changed.detach() if changed.device.type in ("cpu", "cuda") else changed.detach().cpu()
    edges = bins.edges().to(values.device)
    neurons, experts = len(values), len(layer.parts.sizes)
    wd = torch.full((neurons, experts), torch.nan, dtype=torch.float64, device=values.device)
    md = wd.clone()
    counts = torch.zeros(neurons, experts, BINS, dtype=torch.int32, device=values.device)
    space = Workspace()
    for expert, here in enumerate(layer.parts.slices()):
        places = layer.parts.order[here].to(values.device)
        distances, table = layer.distances[expert], layer.tables[expert]
        for rows in row_chunks(values, len(places)) if len(places) else []:
            own = values[rows].index_select(1, places).float()
            ordered = sorted_rows(own, space)
            refuse_non_finite(ordered, rows.start, "changed outputs")
            counts[rows, expert] = count_from(ordered, edges[rows])
            if distances is not None and table is not None:
                found = distance_to_normal(ordered, table.to(values.device), space)
                difficulty = mapping_difficulty(own, distances, space)
                wd[rows, expert] = found
                md[rows, expert] = torch.where(found.isnan(), torch.nan, difficulty)
    sizes = torch.tensor(layer.parts.sizes, dtype=torch.float64, device=values.device)
    return ExpertComparison(
        _weighted_mean(wd, sizes).cpu(), _weighted_mean(md, sizes).cpu(), wd.float().cpu(), counts.cpu()
    )


def _weighted_mean(values: Tensor, sizes: Tensor) -> Tensor:
    weights = torch.where(values.isnan(), 0.0, sizes)
    return (values.nan_to_num(0.0) * weights).sum(dim=1) / weights.sum(dim=1)
