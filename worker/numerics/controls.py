"""Controls that tell what an effect is due to: random clusters, equally many weights, chosen sets of neurons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from worker.numerics.errors import NumericsFailure
from worker.numerics.router import RandomRouter

Criterion = Literal["wd", "random", "mean_abs_weight", "variance"]


def random_clusters(sizes: Sequence[int], seed: int) -> tuple[RandomRouter, Tensor]:
    """Experts of the same sizes as real clusters, filled with tokens at random.

    Returns a router for new tokens, which draws experts in proportion to `sizes`, and the (tokens,) int64 labels of
    the calibration tokens, which have exactly these sizes.
    """
    tokens = sum(sizes)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    np.random.Generator(np.random.PCG64([seed, 3])).shuffle(labels)
    shares = torch.tensor(sizes, dtype=torch.float64) / max(tokens, 1)
    return RandomRouter(shares, seed), torch.from_numpy(labels)


def equal_nonzeros_sparsity(sparsity: float, experts: int) -> float:
    """Sparsity of the one layer that has as many non-zero weights as `experts` experts of `sparsity` together.

    0, a dense layer, where they have more non-zeros than the layer has weights (16 experts at 90 %: 1.6 times).
    """
    return max(0.0, 1.0 - experts * (1.0 - sparsity))


def choose_neurons(
    criterion: Criterion, share: float, values: Tensor | None = None, *, neurons: int = 0, seed: int = 0
) -> Tensor:
    """The `share` of a layer's neurons highest in `values`, or drawn at random; (k,) int64 ascending.

    values: (neurons,) WD, mean |w| or output variance, by `criterion`; NaN (constant neurons) ranks last. For "random"
    give `neurons` and `seed`. k is share * neurons rounded up, so a share above 0 always chooses one.
    """
    if not 0.0 <= share <= 1.0:
        raise NumericsFailure(f"the share of neurons is {share:g}", hint="Give a share from 0 to 1.")
    if criterion == "random":
        count = math.ceil(share * neurons)
        drawn = np.random.Generator(np.random.PCG64([seed, 4])).permutation(neurons)[:count]
        return torch.from_numpy(np.sort(drawn))
    if values is None:
        raise NumericsFailure(f"choosing neurons by {criterion} needs its values")
    ranked = torch.sort(values.nan_to_num(-math.inf), descending=True, stable=True).indices
    return torch.sort(ranked[: math.ceil(share * len(values))]).values


def other_neurons(chosen: Tensor, neurons: int) -> Tensor:
    """The neurons not chosen: prune these to keep the chosen ones dense; ascending int64."""
    others = torch.ones(neurons, dtype=torch.bool)
    others[chosen] = False
    return others.nonzero()[:, 0]
