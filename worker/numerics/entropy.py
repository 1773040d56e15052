"""Differential entropy of many samples by m-spacings (Vasicek 1976), in nats.

    H = mean over i of ln( n / (2m) * (y_(i+m) - y_(i-m)) ),  m = floor(sqrt(n) + 1/2),

order statistics beyond the ends taken as the ends: the estimator of
`scipy.stats.differential_entropy(method="vasicek")`. It departs from it in one thing: a spacing is at least the
resolution of float32 at the row's largest value (2^-23 of it), so that ties give a very low entropy instead of
minus infinity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from worker.numerics.moments import RESOLUTION
from worker.numerics.workspace import Workspace


def vasicek_entropy(standardised: Tensor, space: Workspace | None = None) -> Tensor:
    """Entropy of every row; (neurons, n) ascending, any float dtype. Returns (neurons,) float64."""
    space = space or Workspace()
    count = standardised.shape[1]
    window = math.floor(math.sqrt(count) + 0.5)
    places = torch.arange(count, device=standardised.device)
    if 2 * window >= count:
        upper = standardised[:, (places + window).clamp_max(count - 1)]
        spacing = upper - standardised[:, (places - window).clamp_min(0)]
    else:
        spacing = space.like("first", standardised)
        torch.sub(
            standardised[:, 2 * window :],
            standardised[:, : count - 2 * window],
            out=spacing[:, window : count - window],
        )
        spacing[:, :window] = standardised[:, window : 2 * window] - standardised[:, :1]
        spacing[:, count - window :] = (
            standardised[:, -1:] - standardised[:, count - 2 * window : count - window]
        )
    least = RESOLUTION * torch.maximum(standardised[:, 0].abs(), standardised[:, -1].abs())
    torch.maximum(spacing, least[:, None], out=spacing)
    return _sum_of_logs(spacing, space) / count + math.log(count / (2 * window))


def _sum_of_logs(positive: Tensor, space: Workspace) -> Tensor:
    """Sum over each row of the logarithms, taken of products of four: standardised spacings lie between 1e-7 and
    twice the square root of n, so no product leaves float32."""
    quarter = positive.shape[1] // 4
    product = space.like("second", positive, width=quarter)
    torch.mul(positive[:, :quarter], positive[:, quarter : 2 * quarter], out=product)
    product *= positive[:, 2 * quarter : 3 * quarter]
    product *= positive[:, 3 * quarter : 4 * quarter]
    rest = positive[:, 4 * quarter :].log().sum(dim=1, dtype=torch.float64)
    return product.log_().sum(dim=1, dtype=torch.float64) + rest
