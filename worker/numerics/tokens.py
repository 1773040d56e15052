"""The tokens a neuron answered highest and lowest, and a random sample of the others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from worker.numerics.selection import places_above, places_below

EXAMPLES = 16
"""Tokens of each kind that are kept."""


def random_positions(tokens: int, seed: int, count: int = EXAMPLES) -> Tensor:
    """`count` different positions of `tokens`, ascending, the same for all neurons of a run; (count,) int64.

    With fewer tokens than `count`, all of them and then -1.
    """
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    chosen = np.sort(generator.permutation(tokens)[:count])
    return torch.from_numpy(np.pad(chosen, (0, count - len(chosen)), constant_values=-1))


def highest(outputs: Tensor, ordered: Tensor, count: int = EXAMPLES) -> Tensor:
    """Positions of the highest values of each row, the highest first; among equals the lowest position first.

    outputs, ordered: (neurons, tokens) float, as they are and with each row ascending.
    Returns (neurons, count) int64; with fewer tokens than `count`, -1 fills the rest.
    """
    kept = min(count, outputs.shape[1])
    least = ordered[:, -kept].unsqueeze(1)
    rows, columns = places_above(outputs, torch.nextafter(least, torch.full_like(least, -torch.inf)))
    return _first(rows, columns, -outputs[rows, columns], outputs.shape[0], kept, count)


def lowest(outputs: Tensor, ordered: Tensor, count: int = EXAMPLES) -> Tensor:
    """Positions of the lowest values of each row, the lowest first; otherwise as `highest`."""
    kept = min(count, outputs.shape[1])
    most = ordered[:, kept - 1].unsqueeze(1)
    rows, columns = places_below(outputs, torch.nextafter(most, torch.full_like(most, torch.inf)))
    return _first(rows, columns, outputs[rows, columns], outputs.shape[0], kept, count)


def _first(rows: Tensor, columns: Tensor, keys: Tensor, neurons: int, kept: int, count: int) -> Tensor:
    """The `kept` columns of each row with the lowest keys, of candidates given row by row, columns ascending."""
    order = torch.sort(keys, stable=True).indices
    order = order[torch.sort(rows[order], stable=True).indices]
    starts = torch.searchsorted(rows, torch.arange(neurons, device=rows.device))
    places = starts[:, None] + torch.arange(kept, device=rows.device)
    return torch.nn.functional.pad(columns[order][places], (0, count - kept), value=-1)


def values_at(outputs: Tensor, positions: Tensor) -> Tensor:
    """Values of (neurons, tokens) at (neurons, k) positions; 0 where the position is -1."""
    values = outputs.gather(1, positions.clamp_min(0))
    return torch.where(positions >= 0, values, torch.zeros_like(values))
