"""Perplexity and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from worker.numerics.errors import NumericsFailure
from worker.numerics.perplexity import perplexity


def test_value_weighs_windows_by_their_tokens() -> None:
    result = perplexity([511 * 2.0, 100 * 3.0], [511, 100])
    assert result.value == pytest.approx(math.exp((511 * 2 + 100 * 3) / 611))
    assert (result.tokens, result.windows) == (611, 2)
    assert math.exp(2) <= result.low <= result.value <= result.high <= math.exp(3)


def test_interval_covers_the_mean_as_often_as_it_says_and_is_seeded() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        losses = 511 * (2.3 + 0.2 * rng.standard_normal(30))
        result = perplexity(losses.tolist(), [511] * 30, seed=trial)
        covered += result.low <= math.exp(2.3) <= result.high
    assert 0.88 <= covered / 200 <= 0.99
    assert perplexity([10.0, 20.0], [5, 5], seed=1) == perplexity([10.0, 20.0], [5, 5], seed=1)


def test_one_window_has_no_width_and_a_ruined_model_is_finite() -> None:
    result = perplexity([20.0], [10])
    assert result.low == result.value == result.high == pytest.approx(math.exp(2))
    assert math.isfinite(perplexity([1e6], [1]).value)


def test_refusals() -> None:
    with pytest.raises(NumericsFailure, match="loss of window 1 is not finite"):
        perplexity([1.0, math.nan], [5, 5])
    with pytest.raises(NumericsFailure, match="no predicted token"):
        perplexity([], [])
