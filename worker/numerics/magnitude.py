"""Magnitude pruning: the smallest |w| go. The simplest baseline; it looks at no input."""

from __future__ import annotations

from torch import Tensor

from worker.numerics.masks import pruned_by_score
from worker.numerics.spec import PruneSpec


def magnitude_mask(weight: Tensor, spec: PruneSpec) -> Tensor:
    """(out, in) bool mask of the weights that stay: over the whole layer, per row, or N:M."""
    return ~pruned_by_score(weight.detach().float().abs(), spec, per_row=spec.per_row)
