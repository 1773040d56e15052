"""How two metrics of the same neurons go together."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def correlations(x: Array, y: Array) -> tuple[int, float | None, float | None]:
    """Pairs in which both are known (not nan), and Pearson's and Spearman's correlation over them.

    Spearman's is Pearson's of the ranks, ties sharing their mean rank. None with fewer than two pairs, or where one
    side is always the same.
    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    return len(x), _pearson(x, y), _pearson(_ranks(x), _ranks(y))


def _pearson(x: Array, y: Array) -> float | None:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def _ranks(values: Array) -> Array:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
