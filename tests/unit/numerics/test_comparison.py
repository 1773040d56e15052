"""What changed between two versions of a neuron's output, against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from tests.unit.numerics.samples import slow_md, slow_wd, stack
from worker.numerics.comparison import (
    distance_to_normal,
    relative_error,
    relative_improvement,
    rmse,
    shared_histogram,
    wasserstein_between,
    weighted_scores,
)
from worker.numerics.errors import NumericsFailure
from worker.numerics.mapping import random_pairs


def pair(size: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    dense = stack(size)[:6]
    noise = torch.randn(dense.shape, generator=torch.Generator().manual_seed(1))
    return dense, 0.8 * dense + 0.1 * noise


def test_errors_equal_numpy() -> None:
    dense, sparse = pair()
    wide, thin = dense.double().numpy(), sparse.double().numpy()
    np.testing.assert_allclose(rmse(dense, sparse), np.sqrt(np.mean((wide - thin) ** 2, axis=1)), rtol=1e-5)
    truth = np.sum((wide - thin) ** 2) / np.sum((wide - wide.mean(axis=1, keepdims=True)) ** 2)
    assert relative_error(dense, sparse) == pytest.approx(truth, rel=1e-5)
    means = dense.mean(dim=1, keepdim=True).expand_as(dense)
    assert relative_error(dense, means) == pytest.approx(1.0, rel=1e-4)
    with pytest.raises(NumericsFailure, match="do not compare"):
        rmse(dense, sparse[:, :10])


def test_relative_improvement_of_perfect_neurons() -> None:
    ratio = relative_improvement(torch.tensor([0.4, 0.0, 0.3]), torch.tensor([0.2, 0.0, 0.0]))
    assert ratio.tolist() == [2.0, 1.0, torch.inf]


@pytest.mark.parametrize("size", [1, 50, 5000])
def test_w1_between_samples_equals_scipy(size: int) -> None:
    dense, sparse = pair(size)
    truth = [wasserstein_distance(a, b) for a, b in zip(dense.numpy(), sparse.numpy(), strict=True)]
    np.testing.assert_allclose(wasserstein_between(dense, sparse), truth, rtol=1e-4, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30), st.floats(-10, 10, width=32))
def test_w1_of_a_shifted_sample_is_the_shift(values: list[float], shift: float) -> None:
    sample = torch.tensor([values])
    distance = float(wasserstein_between(sample, sample + shift)[0])
    assert distance == pytest.approx(abs(shift), abs=1e-4)
    assert float(wasserstein_between(sample, sample.flip(1))[0]) == 0.0


def test_weighted_scores_equal_the_slow_sum_over_clusters() -> None:
    outputs = stack(400)[:5]
    inputs = torch.randn(400, 9, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (400,), generator=torch.Generator().manual_seed(2))
    scores = weighted_scores(outputs, inputs, labels, 4, pairs=100, seed=7)
    for neuron, row in enumerate(outputs):
        wd = md = 0.0
        for cluster in range(3):
            places = (labels == cluster).nonzero()[:, 0]
            chosen = random_pairs(len(places), 100 * len(places) // 400, seed=7)
            own, x = row[places].numpy(), inputs[places].numpy()
            wd += len(places) / 400 * slow_wd(own)
            md += len(places) / 400 * slow_md(own, x, chosen.first.numpy(), chosen.second.numpy())
        assert float(scores.wd[neuron]) == pytest.approx(wd, abs=1e-6)
        assert float(scores.md[neuron]) == pytest.approx(md, rel=1e-4)
    assert scores.cluster_wd[:, 3].isnan().all()


def test_weighted_scores_leave_out_clusters_without_a_value() -> None:
    outputs = torch.randn(2, 60, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 29 + [1] * 30 + [2])
    outputs[0, :29] = 3.0
    outputs[1, :] = 1.0
    scores = weighted_scores(outputs, torch.randn(60, 4), labels, 3)
    assert float(scores.wd[0]) == pytest.approx(slow_wd(outputs[0, 29:59].numpy()), abs=1e-6)
    assert scores.cluster_md.isnan().tolist() == [[True, False, True], [True, True, True]]
    assert scores.wd.isnan().tolist() == scores.md.isnan().tolist() == [False, True]


def test_distance_to_normal_is_wd_and_nan_for_constants() -> None:
    outputs = stack(200)[:4].clone()
    outputs[2] = 5.0
    distances = distance_to_normal(outputs)
    assert distances.isnan().tolist() == [False, False, True, False]
    assert float(distances[1]) == pytest.approx(slow_wd(outputs[1].numpy()), abs=1e-6)
    assert distance_to_normal(outputs[:, :1]).isnan().all()


def test_shared_histogram_equals_numpy_on_common_bins() -> None:
    dense, sparse = pair(1000)
    shared = shared_histogram(dense, sparse, dense[:, :100], dense[:, :0], bins=64)
    for neuron in range(6):
        both = np.concatenate([dense[neuron], sparse[neuron]]).astype(np.float64)
        edges = (both.min(), both.max())
        for sample, counts in zip((dense, sparse, dense[:, :100], dense[:, :0]), shared.counts, strict=True):
            truth = np.histogram(sample[neuron].double().numpy(), bins=64, range=edges)[0]
            np.testing.assert_array_equal(counts[neuron], truth)
    with pytest.raises(NumericsFailure, match="no values"):
        shared_histogram(dense[:, :0])
