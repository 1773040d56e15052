"""Bins in which a neuron's dense, pruned and expanded outputs are counted alike.

The dense outputs' range is divided into 128 equally wide bins, and 32 more of the same width reach beyond it on each
side. A run's own histogram (256 bins over the same range) therefore gives the dense counts without the outputs: its
bins two by two, between 32 zeros on each side. For that to hold exactly, the edges are reckoned from the range's ends
in the very operations of `histogram`, and the range's upper end belongs to the bin below it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.numerics.errors import NumericsFailure
from worker.numerics.histogram import count_from, least_at_or_above
from worker.numerics.moments import is_constant

INNER = 128
"""Bins over the dense range."""
MARGIN = 32
"""Bins on each side of it."""
BINS = INNER + 2 * MARGIN


@dataclass(frozen=True)
class SharedBins:
    """The bins of (neurons,) neurons; made by `shared_bins`."""

    dense_low: Tensor
    """(neurons,) float32: least dense output."""
    dense_high: Tensor
    """(neurons,) float32: greatest dense output."""
    width: Tensor
    """(neurons,) float64: of each bin, above 0, in the outputs' units."""

    @property
    def low(self) -> Tensor:
        """(neurons,) float64: lower edge of the first bin."""
        return self.dense_low.double() - MARGIN * self.width

    @property
    def constant(self) -> Tensor:
        """(neurons,) bool: the dense range is below float32's resolution of its ends."""
        return is_constant(self.dense_low, self.dense_high)

    def rows(self, chosen: slice) -> SharedBins:
        """The bins of some of the neurons."""
        return SharedBins(self.dense_low[chosen], self.dense_high[chosen], self.width[chosen])

    def to(self, device: torch.device) -> SharedBins:
        """The same bins on `device`."""
        return SharedBins(self.dense_low.to(device), self.dense_high.to(device), self.width.to(device))

    def edges(self) -> Tensor:
        """(neurons, 191) float32: the least value that belongs to each bin but the first."""
        steps = torch.arange(1 - MARGIN, BINS - MARGIN, dtype=torch.float64, device=self.width.device)
        exact = self.dense_low.double()[:, None] + steps * self.width[:, None]
        edges = least_at_or_above(exact, torch.float32)
        above = torch.nextafter(self.dense_high, torch.full_like(self.dense_high, torch.inf))
        upper = MARGIN + INNER - 1
        edges[:, upper] = torch.where(self.constant, edges[:, upper], above)
        return edges


def shared_bins(low: Tensor, high: Tensor) -> SharedBins:
    """Bins from the least and the greatest dense output of each neuron, (neurons,) each, float32 as scored.

    A bin is a 128th of the range wide; for constant neurons a thousandth of |low|, at least 0.001.
    Raises NumericsFailure when an end is NaN or infinite, or `high` lies below `low`.
    """
    low, high = low.detach().float(), high.detach().float()
    fine = torch.isfinite(low) & torch.isfinite(high) & (low <= high)
    if not bool(fine.all()):
        raise NumericsFailure("the dense outputs' ranges do not go from a finite low to a finite high")
    extent = high.double() - low.double()
    if_constant = low.double().abs().clamp_min(1.0) * 1e-3
    return SharedBins(low, high, torch.where(is_constant(low, high), if_constant, extent / INNER))


def count_in(ordered: Tensor, bins: SharedBins) -> Tensor:
    """Counts (neurons, 192) int32 of (neurons, n) ascending float32 outputs, of any variant of these neurons."""
    return count_from(ordered, bins.edges())
