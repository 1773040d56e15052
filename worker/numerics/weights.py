"""Statistics of the weights that enter a neuron."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightStats:
    """One value per neuron (row of the weight), float32 (out,) on the CPU."""

    mean_abs_weight: Tensor
    weight_norm: Tensor
    zero_share: Tensor
    """Share of weights that are exactly 0, from 0 to 1."""


def weight_stats(weight: Tensor) -> WeightStats:
    """Mean of |w|, Euclidean norm and share of zeros of every row of (out, in), in any float dtype."""
    values = weight.detach().float()
    return WeightStats(
        mean_abs_weight=values.abs().mean(dim=1).cpu(),
        weight_norm=torch.linalg.vector_norm(values, dim=1).cpu(),
        zero_share=(values == 0).float().mean(dim=1).cpu(),
    )
