"""Wanda (Sun et al., ICLR 2024, arXiv 2306.11695): weights by their size times that of their input."""

from __future__ import annotations

from torch import Tensor

from worker.numerics.masks import pruned_by_score
from worker.numerics.spec import PruneSpec


def wanda_mask(weight: Tensor, input_norms: Tensor, spec: PruneSpec) -> Tensor:
    """(out, in) bool mask of the weights that stay: the smallest |w_ij| * ||x_j|| of each row go.

    input_norms: (in,) Euclidean norms over the calibration tokens (`Hessian.input_norms`).
    """
    return ~pruned_by_score(weight.detach().float().abs() * input_norms, spec, per_row=True)
