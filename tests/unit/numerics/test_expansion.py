"""Sparse Expansion against one slow SparseGPT per cluster; the router; small, empty and random clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from tests.unit.numerics.slow_pruning import layer, output_error, slow_sparsegpt
from worker.numerics.controls import choose_neurons, equal_nonzeros_sparsity, other_neurons, random_clusters
from worker.numerics.effects import compare_outputs, relative_improvement
from worker.numerics.errors import NumericsFailure
from worker.numerics.expansion import (
    ClusteredLayer,
    ExpansionLimits,
    expand,
    expanded_outputs,
    segments,
)
from worker.numerics.hessian import hessian
from worker.numerics.pruning import prune
from worker.numerics.router import CentroidRouter, RandomRouter, fit_router
from worker.numerics.spec import PruneSpec


def clustered(width: int = 64, tokens: int = 1200, clusters: int = 4) -> torch.Tensor:
    """Inputs in clusters that differ in place and in shape."""
    generator = torch.Generator().manual_seed(width)
    labels = torch.arange(tokens) % clusters
    centres = 3 * torch.randn(clusters, width, generator=generator)
    mixes = torch.randn(clusters, width, width, generator=generator) / width**0.5
    noise = torch.randn(tokens, width, generator=generator)
    return centres[labels] + torch.einsum("ti,tij->tj", noise, mixes[labels])


def slow_experts(
    weight: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor, experts: int, **case: Any
) -> list[np.ndarray]:
    """Each cluster's expert by the slow SparseGPT, its Hessian drawn toward that of all tokens."""
    X = inputs.double().numpy()
    width = X.shape[1]
    whole = 2.0 / len(X) * X.T @ X
    found = []
    for expert in range(experts):
        own = X[labels.numpy() == expert]
        share = len(own) / (len(own) + width / 4)
        matrix = share * 2.0 / max(len(own), 1) * own.T @ own + (1 - share) * whole
        found.append(slow_sparsegpt(weight.numpy(), matrix, **case)[0])
    return found


@pytest.mark.parametrize(
    ("arguments", "case"),
    [
        ({"sparsity": 0.5}, {"sparsity": 0.5}),
        ({"sparsity": 0.9, "per_row": True}, {"sparsity": 0.9, "per_row": True}),
        ({"zeros": 2, "group": 4}, {"pattern": (2, 4)}),
        ({"sparsity": 0.5, "bits": 4}, {"sparsity": 0.5, "bits": 4}),
    ],
    ids=str,
)
@pytest.mark.parametrize("memory", [1, 1 << 31])
def test_each_expert_is_sparsegpt_on_its_own_cluster(
    arguments: dict[str, Any], case: dict[str, Any], memory: int
) -> None:
    inputs = clustered()
    weights = [layer(rows, 64, seed=rows)[0] for rows in (30, 18)]
    router = fit_router(inputs, experts=6, reduction=8)
    result = expand(weights, inputs, router, PruneSpec(**arguments), limits=ExpansionLimits(memory))
    assert result.sizes == tuple(torch.bincount(result.labels, minlength=6).tolist())
    for weight, experts in zip(weights, result.weights, strict=True):
        truth = slow_experts(weight, inputs, result.labels, 6, **case)
        assert experts.shape == (6, *weight.shape)
        if "bits" not in case:
            assert np.mean((experts.numpy() == 0) == (np.stack(truth) == 0)) >= 0.999
        for expert, slow in zip(experts.numpy(), truth, strict=True):
            error = output_error(weight.numpy(), expert, inputs)
            assert error == pytest.approx(output_error(weight.numpy(), slow, inputs), rel=0.01)


def test_one_expert_is_plain_sparsegpt_and_more_experts_err_less() -> None:
    inputs, weight = clustered(), layer(40, 64)[0]
    spec = PruneSpec(sparsity=0.8)
    plain = prune(weight, hessian(inputs), spec)
    dense = weight @ inputs.T
    plain_rmse = compare_outputs(dense, plain.weight @ inputs.T).rmse
    gains = []
    for experts in (1, 2, 4):
        result = expand([weight], inputs, fit_router(inputs, experts, 8), spec)
        outputs = expanded_outputs(inputs, result.weights[0], result.labels).T
        gains.append(float(relative_improvement(plain_rmse, compare_outputs(dense, outputs).rmse).mean()))
    assert gains[0] == pytest.approx(1.0, abs=1e-3)
    assert gains[0] < gains[1] < gains[2]


def test_real_clusters_beat_random_ones_of_the_same_size() -> None:
    inputs, weight = clustered(), layer(40, 64)[0]
    spec = PruneSpec(sparsity=0.8)
    real = expand([weight], inputs, fit_router(inputs, 4, 8), spec)
    router, labels = random_clusters(real.sizes, seed=1)
    control = expand([weight], inputs, router, spec, labels=labels)
    assert control.sizes == real.sizes
    dense = inputs @ weight.T
    errors = [
        compare_outputs(dense.T, expanded_outputs(inputs, made.weights[0], made.labels).T).rmse.mean()
        for made in (real, control)
    ]
    assert errors[0] < 0.9 * errors[1]


def test_empty_and_tiny_clusters_lean_on_all_tokens() -> None:
    inputs, weight = clustered(), layer(20, 64)[0]
    labels = torch.zeros(1200, dtype=torch.int64)
    labels[:3] = 1
    router = RandomRouter(torch.tensor([0.9, 0.05, 0.05], dtype=torch.float64), seed=0)
    result = expand([weight], inputs, router, PruneSpec(sparsity=0.5), labels=labels)
    assert result.sizes == (1197, 3, 0)
    assert result.own_share == (1197 / 1213, 3 / 19, 0.0)
    plain = prune(weight, hessian(inputs), PruneSpec(sparsity=0.5))
    same = (result.weights[0][2] - plain.weight).abs() < 1e-4
    assert float(same.float().mean()) > 0.99
    assert result.sparsity == (pytest.approx(0.5, abs=1e-3),)
    assert torch.isfinite(result.weights[0]).all()


@pytest.mark.parametrize("sparsity", [0.0, 1.0])
def test_the_ends_of_sparsity(sparsity: float) -> None:
    inputs, weight = clustered(), layer(20, 64)[0].bfloat16()
    result = expand([weight], inputs, fit_router(inputs, 3, 8), PruneSpec(sparsity=sparsity))
    assert torch.equal(result.weights[0], (weight * (sparsity == 0.0)).expand(3, -1, -1))
    assert result.weights[0].dtype == torch.bfloat16


def test_outputs_are_each_tokens_own_experts() -> None:
    inputs = clustered(tokens=50)
    experts = torch.randn(5, 7, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 4
    bias = torch.arange(7.0)
    outputs = expanded_outputs(inputs, experts, labels, bias)
    truth = torch.stack([experts[label] @ token + bias for token, label in zip(inputs, labels, strict=True)])
    torch.testing.assert_close(outputs, truth, rtol=1e-4, atol=1e-4)


def test_progress_is_told_and_may_stop() -> None:
    inputs, weight = clustered(), layer(20, 64)[0]
    seen: list[float] = []
    router = fit_router(inputs, 4, 8)
    expand([weight], inputs, router, PruneSpec(), limits=ExpansionLimits(1, seen.append))
    assert seen == [0.25, 0.5, 0.75, 1.0]

    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        expand([weight], inputs, router, PruneSpec(), limits=ExpansionLimits(1, stop))


def test_router_is_pca_and_the_nearest_centroid() -> None:
    inputs = clustered(tokens=900)
    router = fit_router(inputs, experts=5, reduction=16, seed=2)
    assert router.components.shape == (4, 64)
    assert router.experts == 5
    pca = PCA(4, svd_solver="covariance_eigh").fit(inputs.numpy())
    reduced = pca.transform(inputs.numpy())
    distances = ((reduced[:, None] - router.centroids.numpy()) ** 2).sum(axis=2)
    labels = router.assign(inputs)
    assert np.mean(labels.numpy() == distances.argmin(axis=1)) > 0.999
    again = fit_router(inputs, experts=5, reduction=16, seed=2)
    assert torch.equal(again.assign(inputs), labels)
    assert torch.equal(router.assign(inputs[:0]), torch.empty(0, dtype=torch.int64))


def test_router_keeps_at_least_one_component_and_takes_equal_inputs() -> None:
    narrow = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    assert fit_router(narrow, 3, reduction=5).components.shape == (1, 5)
    same = fit_router(torch.ones(20, 8), 4, reduction=2)
    assert isinstance(same, CentroidRouter)
    assert len(same.assign(torch.ones(20, 8)).unique()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experts": 21}, "21 experts were asked for and there are 20 tokens"),
        ({"experts": 0}, "0 experts"),
        ({"experts": 2, "reduction": 9}, "reduction by 9 of inputs 8 wide"),
        ({"experts": 2, "reduction": 0}, "reduction by 0"),
    ],
)
def test_routers_that_cannot_be_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(NumericsFailure, match=message):
        fit_router(torch.randn(20, 8), **arguments)


def test_nan_inputs_name_the_token() -> None:
    inputs = torch.zeros(20, 8)
    inputs[4, 1] = torch.nan
    with pytest.raises(NumericsFailure, match="inputs of token 4"):
        fit_router(inputs, 2, 2)
    router, labels = random_clusters((10, 10), seed=0)
    broken = torch.full((20, 8), torch.nan)
    with pytest.raises(NumericsFailure, match="block 1 fc1, cluster 0 holds NaN"):
        expand([torch.randn(4, 8)], broken, router, PruneSpec(), labels=labels, name="block 1 fc1")


def test_other_methods_and_patterns_are_refused() -> None:
    inputs, weight = clustered(), layer(20, 64)[0]
    router = fit_router(inputs, 2, 8)
    with pytest.raises(NumericsFailure, match="SparseGPT"):
        expand([weight], inputs, router, PruneSpec("wanda"))
    with pytest.raises(NumericsFailure, match="groups of 5"):
        expand([weight], inputs, router, PruneSpec(zeros=1, group=5))


def test_random_clusters_have_the_same_sizes_and_a_router_of_like_shares() -> None:
    router, labels = random_clusters((600, 300, 0, 100), seed=3)
    assert torch.bincount(labels, minlength=4).tolist() == [600, 300, 0, 100]
    inputs = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(0))
    drawn = router.assign(inputs)
    shares = torch.bincount(drawn, minlength=4).double() / 20_000
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.0, 0.1], atol=0.015)
    assert torch.equal(router.assign(inputs[100:200]), drawn[100:200])
    assert not torch.equal(random_clusters((600, 300, 0, 100), seed=4)[0].assign(inputs), drawn)


def test_segments_sort_tokens_by_expert() -> None:
    parts = segments(torch.tensor([2, 0, 2, 0, 3]), 5)
    assert parts.order.tolist() == [1, 3, 0, 2, 4]
    assert parts.sizes == (2, 0, 2, 1, 0)
    assert [parts.order[here].tolist() for here in parts.slices()] == [[1, 3], [], [0, 2], [4], []]


def test_equal_nonzeros() -> None:
    assert equal_nonzeros_sparsity(0.9, 4) == pytest.approx(0.6)
    assert equal_nonzeros_sparsity(0.9, 1) == pytest.approx(0.9)
    assert equal_nonzeros_sparsity(0.9, 16) == 0.0


def test_chosen_neurons() -> None:
    values = torch.tensor([0.1, torch.nan, 0.9, 0.5, 0.9])
    assert choose_neurons("wd", 0.4, values).tolist() == [2, 4]
    assert choose_neurons("variance", 0.01, values).tolist() == [2]
    assert choose_neurons("wd", 1.0, values).tolist() == [0, 1, 2, 3, 4]
    assert choose_neurons("wd", 0.0, values).tolist() == []
    drawn = choose_neurons("random", 0.25, neurons=40, seed=5)
    assert len(drawn.unique()) == 10
    assert torch.equal(drawn, choose_neurons("random", 0.25, neurons=40, seed=5))
    assert other_neurons(torch.tensor([0, 3]), 5).tolist() == [1, 2, 4]
    with pytest.raises(NumericsFailure, match=r"share of neurons is 1\.5"):
        choose_neurons("wd", 1.5, values)
    with pytest.raises(NumericsFailure, match="by mean_abs_weight needs"):
        choose_neurons("mean_abs_weight", 0.5)


def test_kept_factors_change_nothing() -> None:
    """One clustered layer for several specs gives what a fresh one gives for each, whatever it keeps."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(300, 24, generator=generator)
    weight = torch.randn(40, 24, generator=generator)
    router = fit_router(inputs, 5, 4)
    for keep_bytes in (0, 1 << 30):
        layer = ClusteredLayer([weight], inputs, router, keep_bytes=keep_bytes)
        for spec in (PruneSpec(sparsity=0.3), PruneSpec(sparsity=0.8), PruneSpec(zeros=2, group=4)):
            [want] = expand([weight], inputs, router, spec).weights
            assert torch.equal(layer.expand(spec).weights[0], want)
        assert bool(layer.kept) is (keep_bytes > 0)


def test_one_pca_serves_several_numbers_of_experts() -> None:
    inputs = torch.randn(200, 24, generator=torch.Generator().manual_seed(4))
    first = fit_router(inputs, 2, 4)
    again, fresh = (
        fit_router(inputs, 6, 4, principal=(first.mean, first.components)),
        fit_router(inputs, 6, 4),
    )
    assert torch.equal(again.centroids, fresh.centroids)
    assert torch.equal(again.assign(inputs), fresh.assign(inputs))
