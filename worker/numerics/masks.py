"""Which weights to prune: exact counts, ties broken by position."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.numerics.sorting import by_rows
from worker.numerics.spec import PruneSpec

_SAMPLE = 4096
_FEWEST_STEPS = 8
"""A sample pays when it leaves out seven values of eight."""


def smallest(scores: Tensor, count: int) -> Tensor:
    """Mask of the `count` smallest values of each item of (items, ...) scores; exactly `count` True in each.

    Among equals the first positions are taken.
    """
    length = scores[0].numel() if len(scores) else 0
    if count <= 0 or count >= length:
        return torch.full(scores.shape, count > 0, dtype=torch.bool, device=scores.device)
    if scores.device.type == "cpu":
        mask = torch.empty(scores.shape, dtype=torch.bool)
        by_rows(lambda part, chosen: _mark_smallest(part, count, chosen), scores.numpy(), mask.numpy())
        return mask
    flat = scores.reshape(len(scores), -1)
    border = flat.kthvalue(count, dim=1).values[:, None]
    mask = flat <= border
    surplus = mask.sum(dim=1) - count
    for row in surplus.nonzero()[:, 0].tolist():
        equals = (flat[row] == border[row]).nonzero()[:, 0]
        mask[row, equals[len(equals) - int(surplus[row]) :]] = False
    return mask.view(scores.shape)


def _mark_smallest(scores: NDArray[np.float32], count: int, mask: NDArray[np.bool_]) -> None:
    """The same in NumPy, into `mask`."""
    if scores[0].size < _SAMPLE * _FEWEST_STEPS:
        borders = np.partition(scores.reshape(len(scores), -1), count - 1, axis=1)[:, count - 1]
    else:
        borders = np.array([_kth_smallest(item, count) for item in scores], dtype=scores.dtype)
    others = tuple(range(1, scores.ndim))
    np.less_equal(scores, np.expand_dims(borders, others), out=mask)
    surplus = np.count_nonzero(mask, axis=others) - count
    for item in np.flatnonzero(surplus):
        equals = np.argwhere(scores[item] == borders[item])[-surplus[item] :]
        mask[item][tuple(equals.T)] = False


def _kth_smallest(values: NDArray[np.float32], count: int) -> float:
    """The `count`-th smallest of an array of any shape, counted from 1.

    Two values of a random sample enclose it, but for one time in thousands; only what lies between them is put in
    order, which is several times as fast as doing so with all values. The result is exact either way.
    """
    values = values.ravel()
    places = np.random.Generator(np.random.PCG64(0)).integers(values.size, size=_SAMPLE)
    sample = np.sort(values[places])
    share = count / values.size
    margin = 4.0 * math.sqrt(sample.size * share * (1.0 - share)) + 2.0
    low = sample[max(0, math.floor(sample.size * share - margin))]
    high = sample[min(sample.size - 1, math.ceil(sample.size * share + margin))]
    below, inside = values < low, values <= high
    before = np.count_nonzero(below)
    if before < count <= np.count_nonzero(inside):
        between = values[np.flatnonzero(np.logical_xor(inside, below, out=inside))]
        return float(np.partition(between, count - before - 1)[count - before - 1])
    return float(np.partition(values, count - 1)[count - 1])


def smallest_in_groups(scores: Tensor, zeros: int) -> Tensor:
    """Mask of the `zeros` smallest of each group along dim 1 of (batch, group, n); among equals the first.

    Each value's rank is counted by comparing it with the others: for groups of 4 far cheaper than sorting.
    """
    group = scores.shape[1]
    dtype = torch.uint8 if group < 256 else torch.int16
    ranks = torch.empty(scores.shape, dtype=dtype, device=scores.device)
    for place in range(group):
        ranks[:, place] = group - 1 - place  # those after it, less those of them that are not smaller
    for later in range(group):
        for earlier in range(later):
            after = (scores[:, earlier] <= scores[:, later]).view(torch.uint8)
            ranks[:, later] += after
            ranks[:, earlier] -= after
    return ranks < zeros


def pruned_by_score(scores: Tensor, spec: PruneSpec, *, per_row: bool) -> Tensor:
    """Mask of the weights with the lowest (out, in) scores: as many as `spec` asks for, in groups, rows or at all."""
    rows, width = scores.shape
    if spec.zeros is not None and spec.group is not None:
        spec.check_width(width)
        groups = scores.reshape(-1, spec.group, 1)
        return smallest_in_groups(groups, spec.zeros).view(rows, width)
    if per_row:
        return smallest(scores, round(spec.sparsity * width))
    return smallest(scores.reshape(1, -1), round(spec.sparsity * rows * width)).view(rows, width)


def due_between(start: int, stop: int, share: float) -> int:
    """Zeros due among the weights `start` to `stop`, so that every prefix meets `share` to half a weight."""
    return round(stop * share) - round(start * share)
