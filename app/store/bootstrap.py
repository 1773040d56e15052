"""How well a text determines WD: a bootstrap over whole windows, in numpy.

Tokens of a window depend on each other, so windows are drawn, not tokens. The outputs are sorted once; a draw gives
each token as many copies as its window was drawn, and WD (Eq. 1) follows from the copies in that order by the exact
integral of `worker.numerics.wasserstein`, whose notation is used here: piece i of n is where F^-1 = y_(i).

WD of a resample is larger on average than WD of the sample (its distribution is rougher): the percentiles are shifted by
that bias, so that the interval lies about the WD it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import erf, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
METHOD = "percentile bootstrap over whole windows, shifted by its bias"
RESAMPLES = 1000
_FEWEST, _VALUES = 100, 1 << 26
"""With long texts fewer resamples, so that they go through about so many values in all: a second or two."""
_INV_SQRT_2PI = 1.0 / sqrt(2.0 * np.pi)


@dataclass(frozen=True)
class Interval:
    """What the resamples say of one neuron's WD."""

    low: float
    high: float
    standard_error: float
    bias: float
    resamples: int


@dataclass(frozen=True)
class _Normal:
    """N(0, 1) in n equal pieces of (0, 1)."""

    quantiles: Floats  # (n + 1,), infinite at the ends
    densities: Floats  # (n + 1,)
    means: Floats  # (n,), mean of Phi^-1 over each piece


def default_resamples(tokens: int) -> int:
    """How many resamples are drawn of a text of `tokens` tokens unless someone asks for another number."""
    return max(_FEWEST, min(RESAMPLES, _VALUES // max(1, tokens)))


def draws(windows: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """(resamples, windows): how often each window is drawn."""
    generator = np.random.Generator(np.random.PCG64([seed, 3]))
    return generator.multinomial(windows, np.full(windows, 1.0 / windows), size=resamples)


def wd_interval(
    outputs: NDArray[Any],
    window: NDArray[Any],
    wd: float,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
) -> Interval | None:
    """The interval about a neuron's `wd`; None for fewer than two windows.

    outputs: (tokens,); window: (tokens,) number of each token's window, ascending from 0.
    """
    windows = int(window[-1]) + 1
    if windows < 2:
        return None
    found = np.array(list(resampled_wd(outputs, window, draws(windows, resamples, seed))))
    found = found[np.isfinite(found)]  # a draw of equal outputs has no WD
    if len(found) < 2:
        return None
    bias, tail = float(found.mean()) - wd, (1.0 - confidence) / 2
    low, high = np.quantile(found, [tail, 1.0 - tail]) - bias
    return Interval(max(0.0, float(low)), float(high), float(found.std(ddof=1)), bias, len(found))


def resampled_wd(outputs: NDArray[Any], window: NDArray[Any], counts: NDArray[np.int64]) -> Iterator[float]:
    """WD of each resample, of (resamples, windows) `counts`, in an order of its own; NaN where outputs are equal."""
    order = np.argsort(outputs, kind="stable")
    values, owner = outputs[order].astype(np.float64), window[order]
    sizes = np.bincount(window, minlength=counts.shape[1])
    totals = counts @ sizes
    for total in np.unique(totals):  # the last window may be shorter: texts of a few lengths
        table = _normal(int(total))
        for weights in counts[totals == total]:
            yield _wd(np.repeat(values, weights[owner]), table)


def _wd(ordered: Floats, table: _Normal) -> float:
    """WD of ascending values."""
    size = len(ordered)
    mean = float(ordered.mean())
    centred = ordered - mean
    spread = sqrt(float(centred @ centred) / size)
    if spread <= 2.0**-23 * max(abs(float(ordered[0])), abs(float(ordered[-1]))):
        return float("nan")
    y = centred / spread
    pieces = np.abs(y - table.means)
    # Where y crosses Phi^-1 inside a piece the integrand changes its sign: rare, and taken exactly.
    inside = np.flatnonzero((y > table.quantiles[:-1]) & (y < table.quantiles[1:]))
    at = y[inside]
    below = np.array([0.5 * (1.0 + erf(value / sqrt(2.0))) for value in at])
    density = _INV_SQRT_2PI * np.exp(-0.5 * at * at)
    middle = (inside + 0.5) / size
    ends = table.densities[inside] + table.densities[inside + 1]
    crossing = 2.0 * at * (below - middle) + 2.0 * density - ends
    return float(pieces.sum() - pieces[inside].sum()) / size + float(crossing.sum())


def _normal(size: int) -> _Normal:
    inverse = NormalDist().inv_cdf
    inner = np.fromiter(map(inverse, (np.arange(1, size) / size).tolist()), dtype=np.float64, count=size - 1)
    quantiles = np.concatenate([[-np.inf], inner, [np.inf]])
    densities = _INV_SQRT_2PI * np.exp(-0.5 * quantiles**2)
    return _Normal(quantiles, densities, size * (densities[:-1] - densities[1:]))
