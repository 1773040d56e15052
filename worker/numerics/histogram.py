"""Histograms and quantiles of many ascending rows, each over its own range.

Both are read off the sorted rows: a bin's count is the difference of two searches, a quantile lies between two
neighbours. The results are those of `numpy.histogram(row, bins)` and `numpy.quantile(row, k / parts)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 256
QUANTILES = 257


def histogram(rows: Tensor, bins: int = BINS) -> Tensor:
    """Counts in `bins` equally wide bins over each row's range; the last bin holds its upper edge.

    rows: (neurons, n) ascending. Returns (neurons, bins) int32; each row sums to n. A row of equal values is
    counted in the last bin.
    """
    return count_between(rows, rows[:, 0], rows[:, -1], bins)


def count_between(rows: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Counts in `bins` equally wide bins from `low` to `high`, (neurons,) each, between which all values lie.

    rows: (neurons, n) ascending. Returns (neurons, bins) int32.
    """
    steps = torch.arange(1, bins, dtype=torch.float64, device=rows.device)
    edges = low.double()[:, None] + steps * ((high.double() - low.double())[:, None] / bins)
    return count_from(rows, least_at_or_above(edges, rows.dtype))


def least_at_or_above(edges: Tensor, dtype: torch.dtype) -> Tensor:
    """The least numbers of `dtype` at or above float64 `edges`: comparing values of `dtype` with them equals comparing
    with the edges."""
    rounded = edges.to(dtype)
    above = torch.nextafter(rounded, torch.full_like(rounded, torch.inf))
    return torch.where(rounded.double() < edges, above, rounded)


def count_from(rows: Tensor, edges: Tensor) -> Tensor:
    """Counts between ascending edges: a value belongs to the bin whose lower edge it is.

    rows: (neurons, n) ascending. edges: (neurons, e) of the same dtype. Returns (neurons, e + 1) int32; what lies below
    the first edge or from the last one on is in the outermost bins.
    """
    below = torch.searchsorted(rows.contiguous(), edges)
    first, last = below.new_zeros(len(rows), 1), below.new_full((len(rows), 1), rows.shape[1])
    return torch.cat([first, below, last], dim=1).diff(dim=1).to(torch.int32)


def quantiles(rows: Tensor, parts: int = QUANTILES) -> Tensor:
    """Quantiles at 0, 1/(parts-1), ..., 1, linear between neighbours; (neurons, n) ascending to (neurons, parts)."""
    last = rows.shape[1] - 1
    place = torch.arange(parts, dtype=torch.float64, device=rows.device) * (last / (parts - 1))
    left = place.floor().long().clamp(0, last)
    right = (left + 1).clamp_max(last)
    share = place - left
    lower, upper = rows[:, left].double(), rows[:, right].double()
    return torch.lerp(lower, upper, share.expand_as(lower)).to(rows.dtype)
