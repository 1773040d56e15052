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

RESOLUTION = 2.0**-23
"""Spacing of float32 numbers, relative to their size."""


def vasicek_entropy(standardised: Tensor) -> Tensor:
    """Entropy of every row; (neurons, n) ascending, any float dtype. Returns (neurons,) float64."""
    count = standardised.shape[1]
    window = math.floor(math.sqrt(count) + 0.5)
    places = torch.arange(count, device=standardised.device)
    if 2 * window >= count:
        upper = standardised[:, (places + window).clamp_max(count - 1)]
        spacing = upper - standardised[:, (places - window).clamp_min(0)]
    else:
        spacing = torch.empty_like(standardised)
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
    logs = torch.maximum(spacing, least[:, None], out=spacing).log_()
    return logs.sum(dim=1, dtype=torch.float64) / count + math.log(count / (2 * window))
