"""MD against a slow version per neuron and pair; its guards and invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.numerics.samples import slow_md
from worker.numerics.errors import NumericsFailure
from worker.numerics.mapping import TokenPairs, mapping_difficulty, pair_distances, random_pairs


def layer(tokens: int, width: int = 12, neurons: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    inputs = torch.randn(tokens, width, generator=generator)
    return inputs, torch.randn(neurons, width, generator=generator) @ inputs.T


def test_pairs_are_disjoint_seeded_and_as_many_as_the_tokens_allow() -> None:
    pairs = random_pairs(101, 1000, seed=4)
    used = torch.cat([pairs.first, pairs.second])
    assert len(pairs.first) == 50
    assert len(used.unique()) == 100
    assert torch.equal(random_pairs(101, 1000, seed=4).first, pairs.first)
    assert not torch.equal(random_pairs(101, 1000, seed=5).first, pairs.first)
    assert len(random_pairs(101, 7, seed=4).first) == 7


@pytest.mark.parametrize(("tokens", "count"), [(40, 20), (41, 19), (300, 4), (2, 1)])
def test_equals_the_slow_version(tokens: int, count: int) -> None:
    inputs, outputs = layer(tokens)
    pairs = random_pairs(tokens, count, seed=0)
    result = mapping_difficulty(outputs, pair_distances(inputs, pairs))
    first, second = pairs.first.numpy(), pairs.second.numpy()
    truth = [slow_md(row, inputs.numpy(), first, second) for row in outputs.numpy()]
    np.testing.assert_allclose(result, truth, rtol=1e-5)


def test_pairs_of_identical_inputs_are_left_out_and_counted() -> None:
    inputs, outputs = layer(60)
    pairs = random_pairs(60, 30, seed=0)
    inputs[pairs.second[:3]] = inputs[pairs.first[:3]]
    outputs[:, pairs.second[:3]] = outputs[:, pairs.first[:3]]
    distances = pair_distances(inputs, pairs)
    assert distances.left_out == 3
    truth = [
        slow_md(row, inputs.numpy(), pairs.first.numpy(), pairs.second.numpy()) for row in outputs.numpy()
    ]
    np.testing.assert_allclose(mapping_difficulty(outputs, distances), truth, rtol=1e-5)


def test_without_any_pair_of_different_inputs_it_is_nan() -> None:
    distances = pair_distances(torch.ones(10, 4), random_pairs(10, 5, seed=0))
    assert distances.left_out == 5
    assert mapping_difficulty(torch.randn(3, 10), distances).isnan().all()


def test_median_zero_falls_back_to_the_pairs_that_differ() -> None:
    inputs, _ = layer(40)
    pairs = random_pairs(40, 20, seed=0)
    outputs = torch.zeros(2, 40)
    outputs[0, pairs.first[:4]] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    distances = pair_distances(inputs, pairs)
    closeness = distances.distances.max() / distances.distances
    expected = float((closeness[:4] * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum() / 20 / 2.5)
    result = mapping_difficulty(outputs, distances)
    assert float(result[0]) == pytest.approx(expected, rel=1e-6)
    assert float(result[1]) == 0.0


def test_large_layers_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, _ = layer(100)
    pairs = random_pairs(100, 50, seed=0)
    whole = pair_distances(inputs, pairs)
    monkeypatch.setattr("worker.numerics.mapping._CHUNK_VALUES", 7 * inputs.shape[1])
    assert torch.equal(pair_distances(inputs, pairs).distances, whole.distances)


def test_half_precision_inputs_are_measured_in_float32() -> None:
    inputs = 200 * torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    pairs = random_pairs(50, 25, seed=0)
    half = inputs.half()
    truth = pair_distances(half.float(), pairs).distances
    assert torch.equal(pair_distances(half, pairs).distances, truth)


def test_nan_inputs_are_named() -> None:
    inputs = torch.zeros(10, 4)
    inputs[6, 2] = torch.nan
    pairs = TokenPairs(torch.tensor([0, 6]), torch.tensor([1, 7]))
    with pytest.raises(NumericsFailure, match="NaN or infinity near token 6"):
        pair_distances(inputs, pairs)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.015625, 1024, width=32), st.floats(0.015625, 1024, width=32), st.integers(0, 1000))
def test_scaling_outputs_or_inputs_changes_nothing(a: float, b: float, seed: int) -> None:
    inputs, outputs = layer(50)
    pairs = random_pairs(50, 25, seed)
    before = mapping_difficulty(outputs, pair_distances(inputs, pairs))
    after = mapping_difficulty(a * outputs, pair_distances(b * inputs, pairs))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=0)
