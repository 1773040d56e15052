"""Metrics within each expert's cluster, against slow sums over the clusters."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from tests.unit.numerics.samples import slow_md, slow_wd, stack
from worker.numerics import effects
from worker.numerics.bins import SharedBins, count_in, shared_bins
from worker.numerics.errors import NumericsFailure
from worker.numerics.expert_effects import ExpertComparison, compare_experts, expert_pairs
from worker.numerics.mapping import random_pairs


def own_bins(outputs: torch.Tensor) -> SharedBins:
    return shared_bins(outputs.amin(dim=1), outputs.amax(dim=1))


def dealt(tokens: int, clusters: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels of `tokens` tokens."""
    inputs = torch.randn(tokens, 9, generator=torch.Generator().manual_seed(0))
    return inputs, torch.randint(0, clusters, (tokens,), generator=torch.Generator().manual_seed(2))


def test_weighted_metrics_equal_the_slow_sum_over_clusters() -> None:
    outputs = stack(400)[:5]
    inputs, labels = dealt(400)
    found = compare_experts(outputs, expert_pairs(inputs, labels, 4, pairs=100, seed=7), own_bins(outputs))
    for neuron, row in enumerate(outputs):
        wd = md = 0.0
        for cluster in range(3):
            places = (labels == cluster).nonzero()[:, 0]
            chosen = random_pairs(len(places), 100 * len(places) // 400, seed=7)
            own, x = row[places].numpy(), inputs[places].numpy()
            assert float(found.wd[neuron, cluster]) == pytest.approx(slow_wd(own), abs=1e-6)
            wd += len(places) / 400 * slow_wd(own)
            md += len(places) / 400 * slow_md(own, x, chosen.first.numpy(), chosen.second.numpy())
        assert float(found.weighted_wd[neuron]) == pytest.approx(wd, abs=1e-6)
        assert float(found.weighted_md[neuron]) == pytest.approx(md, rel=1e-4)
    assert found.wd[:, 3].isnan().all()
    assert found.wd.dtype == torch.float32


def test_counts_of_all_clusters_add_up_to_those_of_the_neuron() -> None:
    dense, outputs = stack(600), 0.9 * stack(600, seed=3)
    inputs, labels = dealt(600)
    bins = own_bins(dense)
    found = compare_experts(outputs, expert_pairs(inputs, labels, 5), bins)
    assert found.counts.shape == (8, 5, 192)
    assert found.counts.dtype == torch.int32
    assert torch.equal(found.counts.sum(dim=1).int(), count_in(outputs.sort(dim=1).values, bins))
    assert found.counts.sum(dim=2)[0].tolist() == torch.bincount(labels, minlength=5).tolist()
    own = outputs[:, labels == 1].sort(dim=1).values
    assert torch.equal(found.counts[:, 1], count_in(own, bins))


def test_clusters_without_a_value_are_left_out() -> None:
    outputs = torch.randn(2, 60, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 29 + [1] * 30 + [2])
    outputs[0, :29] = 3.0
    outputs[1, :] = 1.0
    layer = expert_pairs(torch.randn(60, 4), labels, 3)
    found = compare_experts(outputs, layer, own_bins(outputs))
    assert float(found.weighted_wd[0]) == pytest.approx(slow_wd(outputs[0, 29:59].numpy()), abs=1e-6)
    assert found.wd.isnan().tolist() == [[True, False, True], [True, True, True]]
    assert found.weighted_wd.isnan().tolist() == found.weighted_md.isnan().tolist() == [False, True]
    assert found.counts.sum(dim=2).tolist() == [[29, 30, 1]] * 2


def test_identical_inputs_leave_no_md() -> None:
    outputs = stack(50)[:2]
    labels = torch.zeros(50, dtype=torch.int64)
    found = compare_experts(outputs, expert_pairs(torch.ones(50, 4), labels, 1), own_bins(outputs))
    assert found.weighted_md.isnan().all()
    assert not found.weighted_wd.isnan().any()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = stack(9000)
    inputs, labels = dealt(9000, 2)
    layer = expert_pairs(inputs, labels, 2)
    whole = compare_experts(outputs, layer, own_bins(outputs))
    monkeypatch.setitem(effects.CHUNK_VALUES, "cpu", 9000)
    small = compare_experts(outputs, layer, own_bins(outputs))
    for field in fields(ExpertComparison):
        torch.testing.assert_close(
            getattr(small, field.name), getattr(whole, field.name), rtol=1e-6, atol=1e-6
        )


def test_what_does_not_fit_is_refused() -> None:
    outputs = stack(60)[:3]
    inputs, labels = dealt(60)
    layer = expert_pairs(inputs, labels, 3)
    with pytest.raises(NumericsFailure, match=r"\(3, 59\); \(3, 60\) was expected"):
        compare_experts(outputs[:, :59], layer, own_bins(outputs))
    with pytest.raises(NumericsFailure, match="60 tokens have an expert and 59 have inputs"):
        expert_pairs(inputs[:59], labels, 3)
    broken = outputs.clone()
    broken[2, 5] = torch.nan
    with pytest.raises(NumericsFailure, match="neuron 2 has NaN"):
        compare_experts(broken, layer, own_bins(outputs))
