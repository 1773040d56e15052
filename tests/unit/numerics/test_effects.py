"""Changed outputs against dense ones: errors, distances and counts against NumPy and SciPy."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from tests.unit.numerics.samples import slow_wd, stack
from worker.numerics import effects
from worker.numerics.bins import count_in, shared_bins
from worker.numerics.effects import Comparison, compare_outputs, joined, relative_improvement
from worker.numerics.errors import NumericsFailure
from worker.numerics.sorting import sorted_rows


def pair(size: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    dense = stack(size)
    noise = torch.randn(dense.shape, generator=torch.Generator().manual_seed(1))
    return dense, 0.8 * dense + 0.1 * noise


@pytest.mark.parametrize("size", [2, 300, 5000])
def test_errors_and_distances_equal_numpy_and_scipy(size: int) -> None:
    dense, sparse = pair(size)
    before = dense.clone(), sparse.clone()
    found = compare_outputs(dense, sparse)
    assert torch.equal(dense, before[0])
    assert torch.equal(sparse, before[1])
    wide, thin = dense.double().numpy(), sparse.double().numpy()
    errors = np.sum((wide - thin) ** 2, axis=1)
    spreads = np.sum((wide - wide.mean(axis=1, keepdims=True)) ** 2, axis=1)
    np.testing.assert_allclose(found.squared_error, errors, rtol=1e-5)
    np.testing.assert_allclose(found.rmse, np.sqrt(errors / size), rtol=1e-5)
    np.testing.assert_allclose(found.dense_spread, spreads, rtol=1e-5)
    assert found.relative_error == pytest.approx(errors.sum() / spreads.sum(), rel=1e-5)
    truth = [wasserstein_distance(a, b) for a, b in zip(wide, thin, strict=True)]
    np.testing.assert_allclose(found.w1, truth, rtol=1e-4, atol=1e-6)
    few = sparse.numpy()[: 8 if size < 1000 else 1]
    np.testing.assert_allclose(found.wd[: len(few)], [slow_wd(row) for row in few], atol=1e-6)
    bins = shared_bins(dense.amin(dim=1), dense.amax(dim=1))
    assert torch.equal(found.counts, count_in(sparse.sort(dim=1).values, bins))
    assert (found.counts.sum(dim=1) == size).all()
    assert torch.equal(found.low, bins.low)
    assert torch.equal(found.width, bins.width)


def test_predicting_each_neurons_mean_has_relative_error_1() -> None:
    dense = pair()[0][:7]
    means = dense.mean(dim=1, keepdim=True).expand_as(dense)
    assert compare_outputs(dense, means).relative_error == pytest.approx(1.0, rel=1e-4)
    assert compare_outputs(dense, dense).relative_error == 0.0


def test_sorted_rows_and_bins_may_be_given() -> None:
    dense, sparse = pair(5000)
    plain = compare_outputs(dense, sparse)
    bins = shared_bins(dense.amin(dim=1), dense.amax(dim=1))
    given_them = compare_outputs(dense, sparse, bins, ordered=sorted_rows(dense))
    for field in fields(Comparison):
        assert torch.equal(getattr(plain, field.name), getattr(given_them, field.name)), field.name
    wider = compare_outputs(dense, sparse, shared_bins(bins.dense_low - 1, bins.dense_high + 1))
    assert not torch.equal(wider.counts, plain.counts)


def test_chunks_change_nothing_and_may_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, sparse = pair(1000)
    whole = compare_outputs(dense, sparse)
    parts = joined([compare_outputs(dense[:3], sparse[:3]), compare_outputs(dense[3:], sparse[3:])])
    monkeypatch.setitem(effects.CHUNK_VALUES, "cpu", 3000)
    small = compare_outputs(dense, sparse)
    for field in fields(Comparison):
        for other in (parts, small):
            torch.testing.assert_close(
                getattr(other, field.name), getattr(whole, field.name), rtol=1e-6, atol=0
            )
    assert parts.relative_error == pytest.approx(whole.relative_error)


def test_constant_outputs_have_no_wd() -> None:
    dense, sparse = pair(200)
    dense, sparse = dense[:4].clone(), sparse[:4].clone()
    sparse[1] = 5.0
    dense[2] = 1.0
    found = compare_outputs(dense, sparse)
    assert found.wd.isnan().tolist() == [False, True, False, False]
    assert float(found.width[2]) == pytest.approx(1e-3)
    assert float(found.dense_spread[2]) == 0.0
    single = compare_outputs(dense[:, :1], sparse[:, :1])
    assert single.wd.isnan().all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30), st.floats(-10, 10, width=32))
def test_w1_and_rmse_of_a_shifted_sample_are_the_shift(values: list[float], shift: float) -> None:
    sample = torch.tensor([values])
    found = compare_outputs(sample, sample + shift)
    assert float(found.w1[0]) == pytest.approx(abs(shift), abs=1e-4)
    assert float(found.rmse[0]) == pytest.approx(abs(shift), abs=1e-4)
    assert float(compare_outputs(sample, sample.flip(1)).w1[0]) == 0.0


def test_16_bit_outputs_are_compared_as_float32() -> None:
    dense, sparse = (rows[:6].bfloat16() for rows in pair())
    found, truth = compare_outputs(dense, sparse), compare_outputs(dense.float(), sparse.float())
    assert torch.equal(found.w1, truth.w1)
    assert torch.equal(found.counts, truth.counts)


def test_what_does_not_compare_is_refused() -> None:
    dense, sparse = pair()
    with pytest.raises(NumericsFailure, match=r"\(8, 300\) and \(8, 10\) do not compare"):
        compare_outputs(dense, sparse[:, :10])
    with pytest.raises(NumericsFailure, match="do not compare"):
        compare_outputs(dense[:, :0], sparse[:, :0])
    sparse[5, 3] = torch.inf
    with pytest.raises(NumericsFailure, match="neuron 5 has NaN or infinity among its changed outputs"):
        compare_outputs(dense, sparse)
    dense[4, 3] = torch.nan
    with pytest.raises(NumericsFailure, match="neuron 4 has NaN or infinity among its dense outputs"):
        compare_outputs(dense, sparse)


def test_relative_improvement_of_perfect_neurons() -> None:
    ratio = relative_improvement(torch.tensor([0.4, 0.0, 0.3]), torch.tensor([0.2, 0.0, 0.0]))
    assert ratio.tolist() == [2.0, 1.0, torch.inf]
