"""WD against closed form, quadrature and SciPy; its invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, wasserstein_distance

from tests.unit.numerics.samples import quad_wd, shapes, slow_wd, standard
from worker.numerics.moments import standardise
from worker.numerics.reference import gaussian_floor
from worker.numerics.wasserstein import normal_table, wasserstein_to_normal

NAMES = list(shapes(16))


def wd(sample: np.ndarray) -> float:
    _, standardised = standardise(torch.from_numpy(np.sort(sample))[None])
    return float(wasserstein_to_normal(standardised, normal_table(len(sample)))[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [2, 3, 17, 1000])
def test_equals_the_slow_closed_form(name: str, size: int) -> None:
    sample = shapes(size, seed=size)[name]
    assert wd(sample) == pytest.approx(slow_wd(sample), abs=3e-7)


@pytest.mark.parametrize("name", ["gaussian", "skewed", "bimodal", "heavy", "coarse"])
def test_equals_quadrature(name: str) -> None:
    sample = shapes(25)[name]
    assert wd(sample) == pytest.approx(quad_wd(sample), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_equals_scipy_on_a_fine_grid_of_normal_quantiles(name: str) -> None:
    n, fine = 16_384, 32
    sample = shapes(n)[name]
    grid = norm.ppf((np.arange(n * fine) + 0.5) / (n * fine))
    assert wd(sample) == pytest.approx(wasserstein_distance(standard(sample), grid), abs=1e-5)


def test_float32_input_is_as_good_as_float64() -> None:
    rows = torch.from_numpy(np.sort(np.stack(list(shapes(4096).values())), axis=1))
    table = normal_table(4096)
    single = wasserstein_to_normal(standardise(rows)[1], table)
    double = wasserstein_to_normal(standardise(rows.double())[1], table)
    torch.testing.assert_close(single, double, atol=1e-7, rtol=0)


def test_gaussian_floor_is_the_mean_of_gaussian_samples() -> None:
    rng = np.random.default_rng(5)
    wds = [wd(rng.standard_normal(2048).astype(np.float32)) for _ in range(300)]
    assert gaussian_floor(2048) == pytest.approx(np.mean(wds), rel=0.05)
    assert gaussian_floor(2048) == gaussian_floor(2048)
    assert gaussian_floor(64) > gaussian_floor(2048) > gaussian_floor(32_768) > 0


numbers = st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=40, unique=True)


@settings(max_examples=60, deadline=None)
@given(numbers, st.floats(0.125, 64, width=32), st.floats(-100, 100, width=32), st.randoms())
def test_shift_scale_and_order_do_not_matter(
    values: list[float], scale: float, shift: float, random: object
) -> None:
    sample = np.array(values, dtype=np.float64)
    moved = sample * scale + shift
    random.shuffle(moved)  # type: ignore[attr-defined]
    assert wd(moved) == pytest.approx(wd(sample), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(numbers)
def test_mirrored_sample_has_the_same_distance_and_it_is_bounded(values: list[float]) -> None:
    sample = np.array(values, dtype=np.float64)
    # Both distributions have variance 1 and equal means, so no more than 2 lies between them.
    assert 0 < wd(sample) <= 2
    assert wd(-sample) == pytest.approx(wd(sample), abs=1e-9)
