"""Mean, standard deviation, skew and excess kurtosis of many rows, and the rows standardised.

Safe in float32 for means far larger than the spread: rows are first shifted by a pivot (their mean, rounded to the
rows' own dtype), a subtraction float32 carries out almost without loss, then scaled to at most 1 so that no power
overflows, and the small distance between pivot and true mean is taken out by the usual shift formulas. The mean is
summed in float64; torch sums the powers pairwise, which in float32 is good to about 1e-7 of the sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.numerics.workspace import Workspace

RESOLUTION = 2.0**-23
"""Spacing of float32 numbers, relative to their size."""


@dataclass(frozen=True)
class Moments:
    """Population moments of each row, float64 (neurons,); skew and kurtosis are NaN where `std` is 0."""

    mean: Tensor
    std: Tensor
    skew: Tensor
    """Third standardised moment, 0 for a Gaussian."""
    kurtosis: Tensor
    """Fourth standardised moment less 3, 0 for a Gaussian."""


def standardise(rows: Tensor, space: Workspace | None = None) -> tuple[Moments, Tensor]:
    """Moments of ascending rows, and the rows less their mean over their standard deviation.

    rows: (neurons, n) of any float dtype, each row ascending. Returns the moments and a (neurons, n) tensor in the
    rows' dtype, new or in `space`; NaN or infinite in rows of equal values.
    """
    space = space or Workspace()
    count = rows.shape[1]
    mean = rows.sum(dim=1, dtype=torch.float64) / count
    unit = torch.sub(rows, mean.to(rows.dtype)[:, None], out=space.like("standardised", rows))
    scale = torch.maximum(unit[:, 0].abs(), unit[:, -1].abs())
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    unit /= scale[:, None]
    square = torch.mul(unit, unit, out=space.like("first", rows))
    first, second = unit.sum(dim=1).double() / count, square.sum(dim=1).double() / count
    higher = torch.mul(square, unit, out=space.like("second", rows))
    third = higher.sum(dim=1).double() / count
    fourth = torch.mul(square, square, out=higher).sum(dim=1).double() / count
    variance = (second - first**2).clamp_min(0.0)
    record = Moments(
        mean=mean,
        std=variance.sqrt() * scale.double(),
        skew=(third - 3.0 * first * second + 2.0 * first**3) / variance**1.5,
        kurtosis=(fourth - 4.0 * first * third + 6.0 * first**2 * second - 3.0 * first**4) / variance**2
        - 3.0,
    )
    unit *= variance.rsqrt().to(rows.dtype)[:, None]
    unit -= (first * variance.rsqrt()).to(rows.dtype)[:, None]
    return record, unit


def is_constant(low: Tensor, high: Tensor) -> Tensor:
    """Whether rows from `low` to `high`, float32, range less than float32's resolution of their ends; bool."""
    return (high - low) <= RESOLUTION * torch.maximum(low.abs(), high.abs())
