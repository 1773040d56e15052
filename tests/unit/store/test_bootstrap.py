"""The interval of WD: against resamples made directly, and how often it holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from app.store import bootstrap
from worker.numerics.wasserstein import normal_table, wasserstein_to_normal


def windows_of(tokens: int, window: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.arange(tokens) // window


def slow_wd(values: np.ndarray) -> float:  # type: ignore[type-arg]
    """Eq. 1 of a sample as it is, in the worker's float64 implementation, which rests on SciPy."""
    ordered = np.sort((values - values.mean()) / values.std())
    return float(wasserstein_to_normal(torch.from_numpy(ordered)[None], normal_table(len(values)))[0])


@pytest.mark.parametrize(("tokens", "window"), [(512, 64), (500, 64), (130, 64), (64, 8)])
def test_each_resample_is_that_of_its_windows_put_one_after_the_other(tokens: int, window: int) -> None:
    generator = np.random.default_rng(tokens)
    outputs = generator.gamma(2.0, size=tokens).astype(np.float32)
    outputs[3:9] = outputs[0]  # ties
    number = windows_of(tokens, window)
    counts = bootstrap.draws(int(number[-1]) + 1, 40, seed=5)
    assert (counts.sum(axis=1) == number[-1] + 1).all()
    direct = [
        slow_wd(
            np.concatenate([outputs[number == w].astype(float) for w, n in enumerate(row) for _ in range(n)])
        )
        for row in counts
    ]
    found = list(bootstrap.resampled_wd(outputs, number, counts))
    assert sorted(found) == pytest.approx(sorted(direct), abs=1e-12)


def test_wd_is_the_distance_to_a_fine_grid_of_the_normal() -> None:
    outputs = np.random.default_rng(1).standard_t(3, size=400)
    [found] = bootstrap.resampled_wd(outputs, np.zeros(400, dtype=int), np.ones((1, 1), dtype=np.int64))
    inverse = (
        math.sqrt(2) * torch.special.erfinv(torch.linspace(-1, 1, 400_001, dtype=torch.float64)[1:-1]).numpy()
    )
    assert found == pytest.approx(
        wasserstein_distance((outputs - outputs.mean()) / outputs.std(), inverse), abs=2e-5
    )


def test_the_interval_is_what_its_words_say() -> None:
    outputs = np.random.default_rng(3).gamma(2.0, size=640)
    number, wd = windows_of(640, 64), slow_wd(outputs)
    found = bootstrap.wd_interval(outputs, number, wd, resamples=200, seed=7, confidence=0.9)
    every = np.array(list(bootstrap.resampled_wd(outputs, number, bootstrap.draws(10, 200, 7))))
    assert found is not None
    assert found.bias == pytest.approx(every.mean() - wd)
    low, high = np.quantile(every, [0.05, 0.95])
    assert (found.low, found.high) == pytest.approx((low - found.bias, high - found.bias))
    assert found.standard_error == pytest.approx(every.std(ddof=1))
    assert found == bootstrap.wd_interval(outputs, number, wd, resamples=200, seed=7, confidence=0.9)
    assert found != bootstrap.wd_interval(outputs, number, wd, resamples=200, seed=8, confidence=0.9)


def test_how_often_the_interval_holds_the_truth() -> None:
    """Texts whose windows differ: a window's tokens are of one mode more than of the other.

    The truth is WD of a million tokens. Drawn token by token the interval would be far too narrow.
    """

    def text(windows: int, generator: np.random.Generator) -> np.ndarray:  # type: ignore[type-arg]
        share = generator.beta(0.15, 0.6, size=windows).repeat(64)
        modes = generator.random(len(share)) < share
        return generator.normal(np.where(modes, 4.0, 0.0), 1.0)

    generator = np.random.default_rng(11)
    truth = slow_wd(text(15_625, generator))
    held = held_by_tokens = 0
    for seed in range(60):
        outputs = text(40, generator)
        wd = slow_wd(outputs)
        by_window = bootstrap.wd_interval(outputs, windows_of(2560, 64), wd, resamples=200, seed=seed)
        by_token = bootstrap.wd_interval(outputs, np.arange(2560), wd, resamples=100, seed=seed)
        assert by_window is not None
        assert by_token is not None
        held += by_window.low <= truth <= by_window.high
        held_by_tokens += by_token.low <= truth <= by_token.high
    assert 0.85 <= held / 60 <= 1.0
    assert held_by_tokens < held - 8


def test_one_window_and_equal_outputs_have_no_interval() -> None:
    outputs = np.random.default_rng(0).normal(size=64)
    assert bootstrap.wd_interval(outputs, np.zeros(64, dtype=int), 0.1, resamples=100, seed=0) is None
    same = np.full(64, 3.0)
    assert bootstrap.wd_interval(same, windows_of(64, 8), 0.1, resamples=100, seed=0) is None


def test_resamples_fall_with_the_length_of_the_text() -> None:
    assert [bootstrap.default_resamples(n) for n in (16, 65_536, 131_072, 4_194_304)] == [
        1000,
        1000,
        512,
        100,
    ]
