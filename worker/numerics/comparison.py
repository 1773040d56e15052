"""What pruning and expansion did to each neuron's output: errors, distances, distributions on shared bins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.numerics.entropy import RESOLUTION
from worker.numerics.errors import NumericsFailure
from worker.numerics.histogram import count_between
from worker.numerics.mapping import TokenPairs, mapping_difficulty, pair_distances, random_pairs
from worker.numerics.moments import standardise
from worker.numerics.sorting import sorted_rows
from worker.numerics.wasserstein import normal_table, wasserstein_to_normal


@dataclass(frozen=True)
class SharedHistogram:
    """Several samples of each neuron counted in the same bins."""

    low: Tensor
    """(neurons,) float32: lower edge of the first bin, the least value of any sample."""
    high: Tensor
    """(neurons,) float32: upper edge of the last bin, the greatest value of any sample."""
    counts: tuple[Tensor, ...]
    """For each sample (neurons, bins) int32."""


@dataclass(frozen=True)
class WeightedScores:
    """Metrics of a neuron within each cluster, and their mean weighted by cluster size."""

    wd: Tensor
    """(neurons,) float64: sum over clusters of n_c / n * WD_c; NaN where no cluster has a WD."""
    md: Tensor
    """(neurons,) float64."""
    cluster_wd: Tensor
    """(neurons, clusters) float64; NaN where the neuron is constant in the cluster or the cluster has under 2 tokens."""
    cluster_md: Tensor
    """(neurons, clusters) float64; NaN likewise, and where all pairs of the cluster have identical inputs."""


def rmse(dense: Tensor, changed: Tensor) -> Tensor:
    """Root mean squared difference of each row of two (neurons, tokens) outputs; (neurons,) float64."""
    _same_shape(dense, changed)
    difference = changed.float() - dense.float()
    return (difference.square_().sum(dim=1, dtype=torch.float64) / dense.shape[1]).sqrt()


def relative_improvement(pruned_rmse: Tensor, expanded_rmse: Tensor) -> Tensor:
    """RI = RMSE(dense, SparseGPT) / RMSE(dense, expansion) of each neuron, float64.

    1 where both are 0; infinite where only the expansion's is.
    """
    ratio = pruned_rmse.double() / expanded_rmse.double()
    return torch.where((pruned_rmse == 0) & (expanded_rmse == 0), 1.0, ratio)


def relative_error(dense: Tensor, changed: Tensor) -> float:
    """Squared error of a layer's outputs over their variance, both summed over (neurons, tokens): 0 is perfect, and
    1 is what predicting every neuron's mean would give."""
    _same_shape(dense, changed)
    whole = dense.float()
    spread = whole - whole.mean(dim=1, keepdim=True)
    error = (changed.float() - whole).square_().sum(dtype=torch.float64)
    return float(error / spread.square_().sum(dtype=torch.float64))


def wasserstein_between(one: Tensor, other: Tensor) -> Tensor:
    """W1 between the samples in each row of two (neurons, n) tensors, in the outputs' units; (neurons,) float64.

    For samples of equal size the optimal plan pairs them in order: the mean of |a_(i) - b_(i)|.
    """
    _same_shape(one, other)
    difference = sorted_rows(one.float()).sub_(sorted_rows(other.float())).abs_()
    return difference.sum(dim=1, dtype=torch.float64) / one.shape[1]


def distance_to_normal(outputs: Tensor) -> Tensor:
    """WD of each row of (neurons, tokens) outputs; (neurons,) float64, NaN for constant neurons."""
    if outputs.shape[1] < 2:
        return outputs.new_full((outputs.shape[0],), torch.nan, dtype=torch.float64)
    ordered = sorted_rows(outputs.float())
    table = normal_table(outputs.shape[1]).to(outputs.device)
    distance = wasserstein_to_normal(standardise(ordered)[1], table)
    low, high = ordered[:, 0], ordered[:, -1]
    constant = (high - low) <= RESOLUTION * torch.maximum(low.abs(), high.abs())
    return torch.where(constant, torch.nan, distance)


def weighted_scores(
    outputs: Tensor, inputs: Tensor, labels: Tensor, clusters: int, *, pairs: int = 50_000, seed: int = 0
) -> WeightedScores:
    """WD and MD of each neuron within each cluster of tokens, and their weighted means (paper, Fig. 5).

    outputs: (neurons, tokens). inputs: (tokens, in). labels: (tokens,) int64. pairs: at most, over all clusters, in
    proportion to their sizes. Clusters without a value for a neuron are left out of its mean, which is over the
    tokens of the others.
    """
    neurons, tokens = outputs.shape
    wd = torch.full((neurons, clusters), torch.nan, dtype=torch.float64, device=outputs.device)
    md, sizes = wd.clone(), torch.bincount(labels, minlength=clusters)
    for cluster in (sizes >= 2).nonzero()[:, 0].tolist():
        positions = (labels == cluster).nonzero()[:, 0].to(outputs.device)
        own = outputs[:, positions].float()
        wd[:, cluster] = distance_to_normal(own)
        chosen = random_pairs(len(positions), max(1, pairs * len(positions) // tokens), seed)
        local = TokenPairs(chosen.first.to(inputs.device), chosen.second.to(inputs.device))
        difficulty = mapping_difficulty(own, pair_distances(inputs[positions.to(inputs.device)], local))
        md[:, cluster] = torch.where(wd[:, cluster].isnan(), torch.nan, difficulty)
    return WeightedScores(_weighted_mean(wd, sizes), _weighted_mean(md, sizes), wd, md)


def shared_histogram(*samples: Tensor, bins: int = 256) -> SharedHistogram:
    """Count several (neurons, n) samples of the same neurons in bins over their common range; n may differ.

    An empty sample, n = 0, has counts of 0.
    """
    ordered = [sorted_rows(sample.float()) for sample in samples]
    filled = [sample for sample in ordered if sample.shape[1]]
    if not filled:
        raise NumericsFailure("there are no values to count")
    low = torch.stack([sample[:, 0] for sample in filled]).amin(dim=0)
    high = torch.stack([sample[:, -1] for sample in filled]).amax(dim=0)
    return SharedHistogram(low, high, tuple(count_between(sample, low, high, bins) for sample in ordered))


def _weighted_mean(values: Tensor, sizes: Tensor) -> Tensor:
    weights = torch.where(values.isnan(), 0.0, sizes.to(values))
    return (values.nan_to_num(0.0) * weights).sum(dim=1) / weights.sum(dim=1)


def _same_shape(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        raise NumericsFailure(f"outputs of shapes {tuple(one.shape)} and {tuple(other.shape)} do not compare")
