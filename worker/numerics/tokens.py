"""The tokens a neuron answered highest and lowest, and a random sample of the others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

EXAMPLES = 16
"""Tokens of each kind that are kept."""


def random_positions(tokens: int, seed: int, count: int = EXAMPLES) -> Tensor:
    """`count` different positions of `tokens`, ascending, the same for all neurons of a run; (count,) int64.

    With fewer tokens than `count`, all of them and then -1.
    """
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    chosen = np.sort(generator.permutation(tokens)[:count])
    return torch.from_numpy(np.pad(chosen, (0, count - len(chosen)), constant_values=-1))


def highest(outputs: Tensor, count: int = EXAMPLES) -> Tensor:
    """Positions of the highest values of each row, the highest first; among equals the lowest position first.

    outputs: (neurons, tokens). Returns (neurons, count) int64; with fewer tokens than `count`, -1 fills the rest.
    """
    tokens = outputs.shape[1]
    kept = min(count, tokens)
    values, positions = torch.topk(outputs, min(kept + 1, tokens), dim=1)
    if tokens > kept:
        # `topk` may take any of the equals at its border; rows that have some are sorted stably instead.
        tied = (values[:, kept - 1] == values[:, kept]).nonzero()[:, 0]
        values, positions = values[:, :kept], positions[:, :kept]
        if tied.numel():
            order = torch.sort(outputs[tied], dim=1, descending=True, stable=True).indices
            positions[tied] = order[:, :kept]
            values = outputs.gather(1, positions)
    by_position, order = positions.sort(dim=1)
    order = torch.sort(values.gather(1, order), dim=1, descending=True, stable=True).indices
    found = by_position.gather(1, order)
    return torch.nn.functional.pad(found, (0, count - kept), value=-1)


def values_at(outputs: Tensor, positions: Tensor) -> Tensor:
    """Values of (neurons, tokens) at (neurons, k) positions; 0 where the position is -1."""
    values = outputs.gather(1, positions.clamp_min(0))
    return torch.where(positions >= 0, values, torch.zeros_like(values))
