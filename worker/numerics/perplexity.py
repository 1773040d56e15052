"""Perplexity over windows of text, with a bootstrap interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.numerics.errors import NumericsFailure

_RESAMPLES = 2000


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean negative log-likelihood of the predicted tokens."""

    value: float
    low: float
    """Lower end of the 95 % bootstrap interval over windows."""
    high: float
    """Upper end of it."""
    tokens: int
    """Tokens that were predicted."""
    windows: int


def perplexity(losses: Sequence[float], tokens: Sequence[int], seed: int = 0) -> Perplexity:
    """Perplexity from each window's summed negative log-likelihood (nats) and number of predicted tokens.

    The interval resamples whole windows, since tokens within one depend on each other; 2,000 times, seeded. It is the
    value itself for a single window. Raises NumericsFailure for a loss that is not finite, or no token.
    """
    total, count = np.asarray(losses, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    if not np.isfinite(total).all():
        window = int(np.argwhere(~np.isfinite(total))[0, 0])
        raise NumericsFailure(
            f"the loss of window {window} is not finite", hint="The pruned model overflows: prune less of it."
        )
    if total.shape != count.shape or count.sum() < 1:
        raise NumericsFailure("there is no predicted token to average over", hint="Give more text.")
    generator = np.random.Generator(np.random.PCG64([seed, 5]))
    chosen = generator.integers(0, len(total), size=(_RESAMPLES, len(total)))
    means = total[chosen].sum(axis=1) / np.maximum(count[chosen].sum(axis=1), 1.0)
    low, high = np.quantile(means, [0.025, 0.975])
    return Perplexity(
        value=_exp(float(total.sum() / count.sum())),
        low=_exp(float(low)),
        high=_exp(float(high)),
        tokens=int(count.sum()),
        windows=len(total),
    )


def _exp(value: float) -> float:
    """exp without overflow: a ruined model's perplexity is at most the largest float."""
    return math.exp(min(value, 709.0))
