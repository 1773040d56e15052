"""Rounding of weights to a per-row asymmetric grid, as SparseGPT does jointly with pruning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """2^bits evenly spaced values for each row, 0 among them: scale * (k - zero), k = 0 ... 2^bits - 1."""

    scale: Tensor
    """(out,) float32, above 0."""
    zero: Tensor
    """(out,) float32, whole numbers."""
    levels: int

    def round(self, values: Tensor) -> Tensor:
        """Nearest grid values of (..., out) weights: the rows lie along the last dimension."""
        steps = torch.round(values / self.scale) + self.zero
        return (steps.clamp_(0, self.levels - 1) - self.zero) * self.scale


def row_grid(weight: Tensor, bits: int) -> Grid:
    """The grid from the least to the greatest weight of each row of (out, in), 0 included."""
    values = weight.float()
    low, high = values.amin(dim=1).clamp_max(0.0), values.amax(dim=1).clamp_min(0.0)
    levels = 2**bits
    scale = (high - low) / (levels - 1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return Grid(scale, torch.round(-low / scale), levels)
