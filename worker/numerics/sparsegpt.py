"""SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774) of many layers at once.

Column by column, a weight is set to its pruned (or rounded) value and its error, divided by U_jj, is spread over the
later columns with row j of U. What departs from the published loop is only the order of the same operations:

- weights are held transposed, (batch, in, out): a column is contiguous, and all rows, projections that share a
  Hessian, and clusters go through the loop together;
- errors reach a block of columns in one matrix product when the block's turn comes (left-looking), instead of each
  block updating all later ones; inside a block the same holds for pieces of 16 columns;
- counts are exact: the number of zeros is met to one weight after every block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.numerics.masks import due_between, smallest, smallest_in_groups
from worker.numerics.quantisation import Grid
from worker.numerics.spec import PruneSpec

_PIECE = 16
"""Columns updated one by one before their errors are spread by a matrix product."""


@dataclass(frozen=True)
class _Block:
    """The columns whose mask is chosen together, and what the loop over them needs."""

    weights: Tensor
    """(batch, columns, out) view, changed in place."""
    errors: Tensor
    """(batch, columns, out) view, filled in."""
    kept: Tensor
    """(batch, columns, out) bool view, filled in."""
    upper: Tensor
    """(batch, columns, columns) part of U."""
    inverse_diagonal: Tensor
    """(batch, columns, 1): 1 / U_jj."""


def sweep(
    weights: Tensor, upper: Tensor, spec: PruneSpec, parts: Sequence[int] = (), grid: Grid | None = None
) -> Tensor:
    """Prune (batch, in, out) float32 weights in place; returns the (batch, in, out) bool mask of those that stay.

    upper: (batch, in, in) factors of the damped inverse Hessians. parts: how many of the `out` rows belong to each
    projection; each projection's zeros are chosen and counted apart (default: all rows are one). grid: to round to.
    """
    _, width, rows = weights.shape
    spec.check_width(width)
    block = spec.block if spec.group is None else max(1, spec.block // spec.group) * spec.group
    errors = torch.empty_like(weights)
    kept = torch.empty(weights.shape, dtype=torch.bool, device=weights.device)
    inverse_diagonal = upper.diagonal(dim1=1, dim2=2).reciprocal().unsqueeze(2)
    for start in range(0, width, block):
        stop = min(start + block, width)
        here = slice(start, stop)
        current = weights[:, here]
        if start:
            spread = upper[:, :start, here].mT
            torch.baddbmm(current, spread, errors[:, :start], alpha=-1, out=current)
        piece = _Block(
            current,
            errors[:, here],
            kept[:, here],
            upper[:, here, here].contiguous(),
            inverse_diagonal[:, here],
        )
        if spec.group is None:
            _choose(piece, start, spec, parts or (rows,))
        _run_block(piece, spec, grid)
    return kept


def _choose(block: _Block, start: int, spec: PruneSpec, parts: Sequence[int]) -> None:
    """Fill in the block's mask: the smallest w^2 / U_jj^2 of each part, or of each row, go."""
    scores = (block.weights * block.inverse_diagonal).square_()
    batch, columns, rows = scores.shape
    if spec.per_row:
        count = due_between(start, start + columns, spec.sparsity)
        chosen = smallest(scores.mT.reshape(-1, columns), count).view(batch, rows, columns)
        torch.logical_not(chosen.mT, out=block.kept)
        return
    first = 0
    for part in parts:
        own = scores[:, :, first : first + part]
        count = due_between(start * part, (start + columns) * part, spec.sparsity)
        chosen = smallest(own.reshape(batch, -1), count).view(own.shape)
        torch.logical_not(chosen, out=block.kept[:, :, first : first + part])
        first += part


def _run_block(block: _Block, spec: PruneSpec, grid: Grid | None) -> None:
    columns = block.weights.shape[1]
    step = _PIECE if spec.group is None else max(1, _PIECE // spec.group) * spec.group
    for start in range(0, columns, step):
        here = slice(start, min(start + step, columns))
        current = block.weights[:, here]
        if start:
            spread = block.upper[:, :start, here].mT
            torch.baddbmm(current, spread, block.errors[:, :start], alpha=-1, out=current)
        inner = _Block(
            current,
            block.errors[:, here],
            block.kept[:, here],
            block.upper[:, here, here],
            block.inverse_diagonal[:, here],
        )
        _run_columns(inner, spec, grid)


def _run_columns(piece: _Block, spec: PruneSpec, grid: Grid | None) -> None:
    """The loop over columns: prune or round one, spread its error over the later ones of the piece."""
    columns = piece.weights.shape[1]
    grouped = spec.group is not None
    lost = torch.empty_like(piece.weights) if grouped else piece.inverse_diagonal * ~piece.kept
    for column in range(columns):
        if spec.group is not None and spec.zeros is not None and column % spec.group == 0:
            group = slice(column, column + spec.group)
            scores = (piece.weights[:, group] * piece.inverse_diagonal[:, group]).square_()
            torch.logical_not(smallest_in_groups(scores, spec.zeros), out=piece.kept[:, group])
            lost[:, group] = piece.inverse_diagonal[:, group] * ~piece.kept[:, group]
        weight, error = piece.weights[:, column], piece.errors[:, column]
        if grid is None:
            torch.mul(weight, lost[:, column], out=error)
        else:
            value = grid.round(weight).mul_(piece.kept[:, column])
            torch.sub(weight, value, out=error).mul_(piece.inverse_diagonal[:, column])
            weight.copy_(value)
        if column + 1 < columns:
            later = piece.weights[:, column + 1 :]
            row = piece.upper[:, column, column + 1 :].unsqueeze(2)
            later.addcmul_(row, error.unsqueeze(1), value=-1)
    if grid is None:
        piece.weights.mul_(piece.kept)
