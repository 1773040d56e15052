"""Which weights to prune: exact counts, ties broken by position."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.numerics.sorting import by_rows
from worker.numerics.spec import PruneSpec


def smallest(scores: Tensor, count: int) -> Tensor:
    """Mask of the `count` smallest values of each row of (rows, n); exactly `count` True in each.

    Among equals the first positions are taken.
    """
    length = scores.shape[1]
    if count <= 0 or count >= length:
        return torch.full(scores.shape, count > 0, dtype=torch.bool, device=scores.device)
    border = _kth_smallest(scores, count)[:, None]
    mask = scores <= border
    surplus = mask.sum(dim=1) - count
    for row in surplus.nonzero()[:, 0].tolist():
        equals = (scores[row] == border[row]).nonzero()[:, 0]
        mask[row, equals[len(equals) - int(surplus[row]) :]] = False
    return mask


def _kth_smallest(scores: Tensor, count: int) -> Tensor:
    """The `count`-th smallest value of each row, counted from 1; (rows,)."""
    if scores.device.type != "cpu":
        return scores.kthvalue(count, dim=1).values
    copy = scores.clone(memory_format=torch.contiguous_format)
    by_rows(lambda part: part.partition(count - 1, axis=1), copy.numpy())
    return copy[:, count - 1]


def smallest_in_groups(scores: Tensor, zeros: int) -> Tensor:
    """Mask of the `zeros` smallest of each group along dim 1 of (batch, group, n); among equals the first.

    Each value's rank is counted by comparing it with the others: for groups of 4 far cheaper than sorting.
    """
    group = scores.shape[1]
    ranks = torch.zeros(scores.shape, dtype=torch.int16, device=scores.device)
    for later in range(group):
        for earlier in range(later):
            after = scores[:, earlier] <= scores[:, later]
            ranks[:, later] += after
            ranks[:, earlier] += ~after
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
