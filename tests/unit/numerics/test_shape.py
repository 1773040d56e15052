"""Moments, entropy, histogram and quantiles against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.unit.numerics.samples import stack, standard
from worker.numerics.entropy import vasicek_entropy
from worker.numerics.histogram import histogram, quantiles
from worker.numerics.moments import standardise


def ascending(size: int) -> torch.Tensor:
    return stack(size).sort(dim=1).values


@pytest.mark.parametrize("size", [2, 50, 8192])
def test_moments_equal_numpy_in_float64(size: int) -> None:
    rows = ascending(size)
    wide = rows.double().numpy()
    record, standardised = standardise(rows)
    np.testing.assert_allclose(record.mean, wide.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(record.std, wide.std(axis=1), rtol=1e-6)
    np.testing.assert_allclose(record.skew, [stats.skew(standard(row)) for row in wide], rtol=1e-5, atol=1e-5)
    truth = [stats.kurtosis(standard(row)) for row in wide]
    np.testing.assert_allclose(record.kurtosis, truth, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(standardised, [standard(row) for row in wide], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("size", [5, 16, 100, 8192])
def test_entropy_equals_scipy(size: int) -> None:
    rows = ascending(size)[[0, 1, 2, 3, 6, 7]]
    result = vasicek_entropy(standardise(rows)[1])
    truth = [stats.differential_entropy(standard(row), method="vasicek") for row in rows.numpy()]
    np.testing.assert_allclose(result, truth, atol=1e-5)


def test_entropy_of_ties_is_very_low_but_finite() -> None:
    rows = torch.cat([torch.zeros(1, 900), torch.ones(1, 100)], dim=1)
    entropy = float(vasicek_entropy(standardise(rows)[1])[0])
    assert -20 < entropy < -5


def test_entropy_of_a_large_gaussian_is_near_its_own() -> None:
    rows = torch.randn(4, 100_000, generator=torch.Generator().manual_seed(0)).sort(dim=1).values
    entropy = vasicek_entropy(standardise(rows)[1])
    torch.testing.assert_close(entropy, torch.full_like(entropy, 1.4189385), atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [16, 1000, 16_384])
def test_histogram_equals_numpy(size: int) -> None:
    rows = ascending(size)
    counts = histogram(rows)
    for row, found in zip(rows.double().numpy(), counts.numpy(), strict=True):
        np.testing.assert_array_equal(found, np.histogram(row, bins=256)[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=50), st.integers(1, 40))
def test_counts_sum_to_the_sample_size(values: list[float], bins: int) -> None:
    rows = torch.tensor(sorted(values), dtype=torch.float32)[None]
    counts = histogram(rows, bins)
    assert counts.shape == (1, bins)
    assert int(counts.min()) >= 0
    assert int(counts.sum()) == len(values)


@pytest.mark.parametrize("size", [2, 16, 257, 1000])
def test_quantiles_equal_numpy(size: int) -> None:
    rows = ascending(size)
    truth = np.quantile(rows.double().numpy(), np.arange(257) / 256, axis=1).T
    np.testing.assert_allclose(quantiles(rows), truth, rtol=1e-6, atol=1e-30)
