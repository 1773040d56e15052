"""SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774) of a layer for many Hessians at once.

As published: column by column, a weight w_j is set to its pruned (or rounded) value q_j, its error
e_j = (w_j - q_j) / U_jj, w_j as it stands then, is spread over the later columns with row j of U, where H^-1 = U^T U.
Within a block of columns this is done as it is. Between blocks the same is reached without H^-1 or U: with H = L^T L,
U is the inverse of L^T, and what all blocks before block b have spread to it is

    -(L_bb)^-1 L_b,before M_before

M being the whole movement of each weight, from the original to its final value. What else departs from the published
loop is only the order of operations:

- weights are held transposed, (in, out): a column is contiguous, and all rows, projections that share a Hessian, and
  clusters go through the loop together;
- movements reach a block in one matrix product when its turn comes (left-looking), instead of each block updating all
  later ones; inside a block the same holds for the errors of pieces of 16 columns;
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
from worker.numerics.workspace import Workspace

_PIECE = 16
"""Columns updated one by one before their movements are spread by a matrix product."""


@dataclass(frozen=True)
class _Block:
    """The columns whose mask is chosen together, and what the loop over them needs."""

    weights: Tensor
    """(batch, columns, out), changed in place."""
    errors: Tensor
    """(batch, columns, out), filled in."""
    kept: Tensor
    """(batch, columns, out) bool view, filled in."""
    upper: Tensor
    """(batch, columns, columns) part of U."""
    inverse_diagonal: Tensor
    """(batch, columns, 1): 1 / U_jj."""

    def part(self, here: slice) -> _Block:
        """Some of the columns, once the errors of those before them are spread."""
        weights = self.weights[:, here]
        if here.start:
            spread = self.upper[:, : here.start, here].mT
            torch.baddbmm(weights, spread, self.errors[:, : here.start], alpha=-1, out=weights)
        upper, diagonal = self.upper[:, here, here], self.inverse_diagonal[:, here]
        return _Block(weights, self.errors[:, here], self.kept[:, here], upper, diagonal)

    def scores(self, here: slice = slice(None)) -> Tensor:
        """(batch, columns, out) of some columns: w^2 / U_jj^2, what pruning a weight now would cost."""
        return (self.weights[:, here] * self.inverse_diagonal[:, here]).square_()


def sweep(
    original: Tensor,
    lower: Tensor,
    spec: PruneSpec,
    parts: Sequence[int] = (),
    grid: Grid | None = None,
    space: Workspace | None = None,
) -> tuple[Tensor, Tensor]:
    """Prune a layer once for each of a batch of Hessians; no argument is changed.

    original: (in, out) float32, the weight transposed. lower: (batch, in, in) factors L of the damped Hessians. parts:
    how many of the `out` rows belong to each projection; each projection's zeros are chosen and counted apart (default:
    all rows are one). grid: to round to.
    Returns the pruned weights (batch, in, out) and the bool mask of those that stay, new or in `space`.
    """
    width, rows = original.shape
    spec.check_width(width)
    block = spec.block if spec.group is None else max(1, spec.block // spec.group) * spec.group
    space = space or Workspace()
    moved = _like(space, "moved", lower, width, rows)
    kept = _like(space, "kept", lower, width, rows, torch.bool)
    for start in range(0, width, block):
        here = slice(start, min(start + block, width))
        upper, coupling = _block_factors(lower, here)
        weights = _like(space, "weights", lower, here.stop - start, rows)
        errors = _like(space, "errors", lower, here.stop - start, rows)
        weights.copy_(original[here])
        if start:
            torch.baddbmm(weights, coupling, moved[:, :start], alpha=-1, out=weights)
        diagonal = lower.diagonal(dim1=1, dim2=2)[:, here].unsqueeze(2)
        columns = _Block(weights, errors, kept[:, here], upper, diagonal)
        if spec.group is None:
            _choose(columns, start, spec, parts or (rows,))
        _run_block(columns, spec, grid)
        torch.sub(weights, original[here], out=moved[:, here])
    moved += original
    if grid is not None:
        moved.copy_(grid.round(moved).mul_(kept))
    return moved, kept


def _like(
    space: Workspace, name: str, lower: Tensor, columns: int, rows: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """An uninitialised (batch, columns, rows) tensor beside (batch, in, in) `lower`."""
    flat = space.like(name, lower.flatten(1), width=columns * rows, dtype=dtype)
    return flat.view(len(lower), columns, rows)


def _block_factors(lower: Tensor, here: slice) -> tuple[Tensor, Tensor]:
    """U of the columns `here`, and what their weights lose for each unit that an earlier column moved.

    (batch, columns, columns) and (batch, columns, here.start).
    """
    own = lower[:, here, here]
    identity = torch.eye(own.shape[1], dtype=own.dtype, device=own.device)
    inverse = torch.linalg.solve_triangular(own, identity.expand_as(own), upper=False)
    return inverse.mT, inverse @ lower[:, here, : here.start]


def _choose(block: _Block, start: int, spec: PruneSpec, parts: Sequence[int]) -> None:
    """Fill in the block's mask: the smallest scores of each part, or of each row, go."""
    scores = block.scores()
    batch, columns, rows = scores.shape
    if spec.per_row:
        count = due_between(start, start + columns, spec.sparsity)
        chosen = smallest(scores.mT.reshape(-1, columns), count).view(batch, rows, columns)
        torch.logical_not(chosen.mT, out=block.kept)
        return
    first = 0
    for part in parts:
        own = slice(first, first + part)
        count = due_between(start * part, (start + columns) * part, spec.sparsity)
        torch.logical_not(smallest(scores[:, :, own], count), out=block.kept[:, :, own])
        first += part


def _run_block(block: _Block, spec: PruneSpec, grid: Grid | None) -> None:
    columns = block.weights.shape[1]
    step = _PIECE if spec.group is None else max(1, _PIECE // spec.group) * spec.group
    for start in range(0, columns, step):
        _run_columns(block.part(slice(start, min(start + step, columns))), spec, grid)


def _run_columns(piece: _Block, spec: PruneSpec, grid: Grid | None) -> None:
    """The loop over columns: prune or round one, spread its error over the later ones of the piece."""
    columns = piece.weights.shape[1]
    grouped = spec.group is not None
    lost = torch.empty_like(piece.weights) if grouped else piece.inverse_diagonal * ~piece.kept
    for column in range(columns):
        if spec.group is not None and spec.zeros is not None and column % spec.group == 0:
            group = slice(column, column + spec.group)
            chosen = smallest_in_groups(piece.scores(group), spec.zeros)
            torch.logical_not(chosen, out=piece.kept[:, group])
            torch.mul(chosen, piece.inverse_diagonal[:, group], out=lost[:, group])
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
