"""The whole of `score_outputs`: fields, tokens, constants, refusals, determinism, chunks."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from tests.unit.numerics.samples import setting, slow_wd, stack
from worker.numerics import scoring
from worker.numerics.errors import NumericsFailure
from worker.numerics.reference import score_reference
from worker.numerics.scoring import NeuronScores, score_outputs
from worker.numerics.tokens import highest, lowest, random_positions
from worker.numerics.weights import weight_stats


def test_every_field_of_every_shape() -> None:
    outputs = stack(2000)
    before = outputs.clone()
    scores = score_outputs(outputs, *setting(2000))
    assert torch.equal(outputs, before)
    for field in fields(NeuronScores):
        value = getattr(scores, field.name)
        assert value.shape[0] == 8
        assert value.device.type == "cpu"
        assert torch.isfinite(value.double()).all(), field.name
    np.testing.assert_allclose(scores.wd, [slow_wd(row) for row in outputs.numpy()], atol=1e-6)
    assert scores.counts.shape == (8, 256)
    assert scores.counts.dtype == torch.int32
    assert (scores.counts.sum(dim=1) == 2000).all()
    assert scores.quantiles.shape == (8, 257)
    assert torch.equal(scores.quantiles[:, 0], scores.low)
    assert torch.equal(scores.quantiles[:, -1], scores.high)
    assert scores.token_positions.shape == scores.token_values.shape == (8, 3, 16)
    assert torch.equal(
        scores.token_values, outputs.gather(1, scores.token_positions.flatten(1).long()).view(8, 3, 16)
    )
    assert torch.equal(scores.token_values[:, 0, 0], scores.high)
    assert torch.equal(scores.token_values[:, 1, 0], scores.low)
    assert not scores.constant.any()


def test_the_same_twice_and_in_other_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = torch.cat([stack(1000, seed) for seed in range(5)])
    context = setting(1000)
    once, again = score_outputs(outputs, *context), score_outputs(outputs, *context)
    monkeypatch.setitem(scoring._CHUNK_VALUES, "cpu", 3000)
    small = score_outputs(outputs, *context)
    monkeypatch.setitem(scoring._CHUNK_VALUES, "cpu", 1)
    single = score_outputs(outputs, *context)
    for field in fields(NeuronScores):
        value = getattr(once, field.name)
        assert torch.equal(value, getattr(again, field.name)), field.name
        for other in (small, single):
            torch.testing.assert_close(getattr(other, field.name), value, rtol=1e-6, atol=1e-6)


def test_constant_neurons_are_named_and_have_no_shape() -> None:
    outputs = stack(64)[:6].clone()
    outputs[1] = 0.0
    outputs[3] = -7.25
    outputs[5] = 1000.0
    outputs[5, 4] = float(np.nextafter(np.float32(1000.0), np.float32(2000.0)))
    scores = score_outputs(outputs, *setting(64))
    assert scores.constant.tolist() == [False, True, False, True, False, True]
    for name in ("wd", "md", "skew", "kurtosis", "entropy"):
        value = getattr(scores, name)
        assert torch.equal(value.isnan(), scores.constant), name
    assert scores.mean[[1, 3]].tolist() == [0.0, -7.25]
    assert scores.std[[1, 3]].tolist() == [0.0, 0.0]
    assert (scores.counts.sum(dim=1) == 64).all()
    assert scores.token_positions[1, 0].tolist() == list(range(16))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_name_the_first_neuron(bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = stack(64)
    outputs[5, 10] = bad
    outputs[7, 1] = bad
    monkeypatch.setitem(scoring._CHUNK_VALUES, "cpu", 128)
    with pytest.raises(NumericsFailure, match="neuron 5 has NaN or infinity") as caught:
        score_outputs(outputs, *setting(64))
    assert "float32" in caught.value.hint


def test_tokens_that_do_not_fit_the_reference_are_refused() -> None:
    with pytest.raises(NumericsFailure, match=r"\(8, 63\); \(neurons, 64\) was expected"):
        score_outputs(stack(64)[:, :63], *setting(64))
    with pytest.raises(NumericsFailure, match="at least 2 tokens"):
        score_reference(1, 10, seed=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_scored_as_float32(dtype: torch.dtype) -> None:
    outputs = stack(256)[:6].to(dtype)
    context = setting(256)
    scores, truth = score_outputs(outputs, *context), score_outputs(outputs.float(), *context)
    assert torch.equal(scores.wd, truth.wd)
    assert scores.low.dtype == torch.float32


def test_few_tokens_leave_places_empty() -> None:
    scores = score_outputs(stack(10)[:2], *setting(10))
    assert (scores.token_positions[:, :, 10:] == -1).all()
    assert (scores.token_values[:, :, 10:] == 0).all()
    assert sorted(scores.token_positions[0, 0, :10].tolist()) == list(range(10))
    assert scores.token_positions[0, 2, :10].tolist() == list(range(10))


def test_highest_breaks_ties_by_position() -> None:
    outputs = torch.tensor([[1.0, 5.0, 5.0, 2.0, 5.0, 5.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert highest(outputs, outputs.sort(dim=1).values, 3).tolist() == [[1, 2, 4], [0, 1, 2]]
    assert highest(outputs, outputs.sort(dim=1).values, 5).tolist() == [[1, 2, 4, 5, 3], [0, 1, 2, 3, 4]]
    assert lowest(outputs, outputs.sort(dim=1).values, 2).tolist() == [[0, 3], [0, 1]]


def test_highest_equals_a_stable_sort() -> None:
    outputs = torch.from_numpy(np.random.default_rng(0).integers(0, 60, (40, 500)).astype(np.float32))
    truth = np.argsort(-outputs.numpy(), axis=1, kind="stable")[:, :16]
    ordered = outputs.sort(dim=1).values
    np.testing.assert_array_equal(highest(outputs, ordered), truth)
    lowest_truth = np.argsort(outputs.numpy(), axis=1, kind="stable")[:, :16]
    np.testing.assert_array_equal(lowest(outputs, ordered), lowest_truth)


def test_random_positions_are_different_seeded_and_ascending() -> None:
    positions = random_positions(1000, seed=9)
    assert torch.equal(positions, random_positions(1000, seed=9))
    assert not torch.equal(positions, random_positions(1000, seed=10))
    assert (positions.diff() > 0).all()
    assert len(positions) == 16


def test_weight_stats_equal_numpy() -> None:
    weight = torch.randn(6, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight[2, :8] = 0
    stats = weight_stats(weight)
    wide = weight.double().numpy()
    np.testing.assert_allclose(stats.mean_abs_weight, np.abs(wide).mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(stats.weight_norm, np.linalg.norm(wide, axis=1), rtol=1e-6)
    assert stats.zero_share.tolist() == [0, 0, 0.25, 0, 0, 0]
