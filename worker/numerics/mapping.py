"""MD, mapping difficulty: how far a neuron drives similar inputs apart.

Eq. 2 of arXiv 2405.15756, over pairs of tokens (i, j):

    MD(w) = mean[ (|y_i - y_j| / N_y) / (||x_i - x_j||_2 / N_x) ]

N_x is the largest distance of a pair (one for the layer), N_y the median of |y_i - y_j| (per neuron). MD ranks
neurons within a layer; it does not compare across layers. Guards:

- pairs of identical inputs (distance 0) are left out; `PairDistances.left_out` counts them;
- N_y = 0 though the neuron is not constant (more than half of its pairs agree): the median is taken over the pairs
  that differ; where no pair differs, MD is 0, as its numerator is;
- no pair left at all: MD is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.numerics.errors import NumericsFailure
from worker.numerics.sorting import by_rows
from worker.numerics.workspace import Workspace

_CHUNK_VALUES = 1 << 24
"""Input values that are looked at together: 64 MiB of float32."""


@dataclass(frozen=True)
class TokenPairs:
    """Disjoint random pairs of token positions, the same on every device for one seed."""

    first: Tensor
    """(pairs,) int64."""
    second: Tensor
    """(pairs,) int64."""


@dataclass(frozen=True)
class PairDistances:
    """Pairs that differ in their inputs, and how much."""

    pairs: TokenPairs
    distances: Tensor
    """(pairs,) float32, all above 0: ||x_i - x_j||_2."""
    left_out: int
    """Pairs of identical inputs, which are not among them."""


def random_pairs(tokens: int, pairs: int, seed: int) -> TokenPairs:
    """min(pairs, tokens // 2) disjoint pairs of `tokens` positions."""
    count = min(pairs, tokens // 2)
    order = np.random.Generator(np.random.PCG64([seed, 0])).permutation(tokens)
    return TokenPairs(
        torch.from_numpy(order[:count].copy()), torch.from_numpy(order[count : 2 * count].copy())
    )


def pair_distances(inputs: Tensor, pairs: TokenPairs) -> PairDistances:
    """Distances of a layer's inputs, (tokens, in) in any float dtype; made once for all of its projections.

    Raises NumericsFailure when an input is NaN or infinite.
    """
    step = max(1, _CHUNK_VALUES // inputs.shape[1])
    first, second = pairs.first.to(inputs.device), pairs.second.to(inputs.device)
    parts = []
    for start in range(0, len(first), step):
        here = slice(start, start + step)
        difference = inputs[first[here]].float() - inputs[second[here]].float()
        parts.append(torch.linalg.vector_norm(difference, dim=1))
    distances = torch.cat(parts).cpu()
    if not bool(torch.isfinite(distances).all()):
        worst = int((~torch.isfinite(distances)).nonzero()[0, 0])
        raise NumericsFailure(
            f"the layer's inputs hold NaN or infinity near token {int(pairs.first[worst])}",
            hint="Check the model's weights; 16-bit models can overflow: try bfloat16 or float32.",
        )
    used = distances > 0
    kept = TokenPairs(pairs.first[used], pairs.second[used])
    return PairDistances(kept, distances[used], int((~used).sum()))


def mapping_difficulty(outputs: Tensor, layer: PairDistances, space: Workspace | None = None) -> Tensor:
    """MD of every row of (neurons, tokens) float32 outputs; returns (neurons,) float64."""
    count = layer.distances.numel()
    if count == 0:
        return torch.full((outputs.shape[0],), torch.nan, dtype=torch.float64, device=outputs.device)
    first, second = layer.pairs.first.to(outputs.device), layer.pairs.second.to(outputs.device)
    space = space or Workspace()
    change = space.like("first", outputs, width=count)
    torch.index_select(outputs, 1, first, out=change)
    change -= torch.index_select(outputs, 1, second, out=space.like("second", outputs, width=count))
    change.abs_()
    closeness = layer.distances.max().double() / layer.distances.double()
    weighted = change @ closeness.to(change)
    median = _row_median(change)
    for row in (median == 0).nonzero()[:, 0].tolist():
        positive = change[row][change[row] > 0]
        median[row] = _row_median(positive[None])[0] if positive.numel() else 1.0
    return weighted.double() / (count * median)


def _row_median(values: Tensor) -> Tensor:
    """Median of each row, the mean of the two middle values for even counts; (rows, n) to (rows,) float64.

    Reorders `values` on the CPU.
    """
    middle = values.shape[1] // 2
    if values.device.type == "cpu":
        by_rows(lambda part: part.partition(middle, axis=1), values.numpy())
    else:
        values = values.sort(dim=1).values
    upper = values[:, middle].double()
    if values.shape[1] % 2:
        return upper
    return 0.5 * (upper + values[:, :middle].amax(dim=1).double())
