"""Pruners against slow float64 versions, exact counts, identities and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.numerics.slow_pruning import layer, output_error, slow_factor, slow_sparsegpt
from worker.numerics.errors import NumericsFailure
from worker.numerics.hessian import Hessian, add_inputs, factorise, hessian
from worker.numerics.pruning import prune, prune_rows
from worker.numerics.spec import PruneSpec

CASES: list[dict[str, Any]] = [
    {"sparsity": 0.5},
    {"sparsity": 0.9},
    {"sparsity": 0.5, "block": 16},
    {"sparsity": 0.37, "block": 20},
    {"sparsity": 0.6, "per_row": True},
    {"sparsity": 0.6, "block": 7, "per_row": True},
    {"zeros": 2, "group": 4},
    {"zeros": 1, "group": 3},
    {"zeros": 4, "group": 8},
    {"zeros": 5, "group": 24},
    {"sparsity": 0.0, "bits": 3},
    {"sparsity": 0.5, "bits": 4},
    {"zeros": 2, "group": 4, "bits": 8},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("width", [48, 264])
def test_sparsegpt_equals_the_slow_version(case: dict[str, Any], width: int) -> None:
    weight, inputs = layer(width=width, tokens=3 * width)
    statistics = hessian(inputs)
    result = prune(weight, statistics, PruneSpec(**case))
    slow_case = {key: value for key, value in case.items() if key not in ("zeros", "group")}
    if "group" in case:
        slow_case["pattern"] = (case["zeros"], case["group"])
        slow_case["block"] = 128 // case["group"] * case["group"]  # so that no group crosses blocks
    truth, kept = slow_sparsegpt(weight.numpy(), statistics.matrix.numpy(), **slow_case)
    assert np.mean(result.kept.numpy() == kept) >= 0.999
    error = output_error(weight.numpy(), result.weight.numpy(), inputs)
    slow_error = output_error(weight.numpy(), truth, inputs)
    assert error == pytest.approx(slow_error, rel=0.01)
    assert float(result.row_error.mean()) == pytest.approx(error, rel=1e-3)
    if bool((result.kept.numpy() == kept).all()) and "bits" not in case:
        np.testing.assert_allclose(result.weight, truth, atol=2e-3)


@pytest.mark.parametrize("method", ["sparsegpt", "wanda", "magnitude"])
@pytest.mark.parametrize("sparsity", [0.0, 0.013, 0.5, 0.9, 0.997, 1.0])
def test_counts_are_exact(method: Any, sparsity: float) -> None:
    weight, inputs = layer(rows=33, width=135)
    result = prune(weight, hessian(inputs), PruneSpec(method, sparsity))
    zeros = int((result.weight == 0).sum())
    expected = 33 * round(sparsity * 135) if method == "wanda" else round(sparsity * 33 * 135)
    assert zeros == int((~result.kept).sum()) == expected
    assert result.sparsity == zeros / weight.numel()
    if method == "sparsegpt" and 0 < sparsity < 1:
        first = int((result.weight[:, :128] == 0).sum())
        assert first == round(sparsity * 33 * 128)


@pytest.mark.parametrize("method", ["sparsegpt", "wanda", "magnitude"])
def test_sparsity_zero_is_the_identity_and_one_leaves_nothing(method: Any) -> None:
    weight, inputs = layer()
    inputs[:, 3] = 0.0
    before = weight.clone()
    same = prune(weight, hessian(inputs), PruneSpec(method, 0.0))
    assert torch.equal(same.weight, before)
    assert bool(same.kept.all())
    assert float(same.row_error.max()) == 0.0
    nothing = prune(weight, hessian(inputs), PruneSpec(method, 1.0))
    assert not nothing.weight.any()
    assert torch.equal(weight, before)
    power = inputs.double() @ before.double().T
    np.testing.assert_allclose(nothing.row_error, (power**2).mean(dim=0), rtol=1e-4)


@pytest.mark.parametrize("method", ["sparsegpt", "wanda", "magnitude"])
@pytest.mark.parametrize(("zeros", "group"), [(2, 4), (4, 8), (1, 4), (3, 5), (0, 4), (4, 4)])
def test_pattern_holds_in_every_group(method: Any, zeros: int, group: int) -> None:
    weight, inputs = layer(width=40 * 4)
    result = prune(weight, hessian(inputs), PruneSpec(method, zeros=zeros, group=group))
    per_group = (result.weight == 0).view(len(weight), -1, group).sum(dim=2)
    assert (per_group == zeros).all()


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_sparsegpt_errs_less_than_wanda_and_wanda_less_than_magnitude(sparsity: float, seed: int) -> None:
    weight, inputs = layer(rows=64, width=192, tokens=1000, seed=seed)
    statistics = hessian(inputs)
    errors = [
        float(prune(weight, statistics, PruneSpec(method, sparsity)).row_error.sum())
        for method in ("sparsegpt", "wanda", "magnitude")
    ]
    assert errors[0] < errors[1] < errors[2]


def test_wanda_and_magnitude_masks_by_hand() -> None:
    weight = torch.tensor([[1.0, -3.0, 2.0, 0.5], [4.0, 0.1, -0.2, 0.3]])
    inputs = torch.diag(torch.tensor([10.0, 1.0, 1.0, 8.0]))
    statistics = hessian(inputs)
    np.testing.assert_allclose(statistics.input_norms, [10, 1, 1, 8], rtol=1e-6)
    wanda = prune(weight, statistics, PruneSpec("wanda", 0.5))
    assert wanda.kept.tolist() == [[True, False, False, True], [True, False, False, True]]
    magnitude = prune(weight, statistics, PruneSpec("magnitude", 0.5))
    assert magnitude.kept.tolist() == [[True, True, True, False], [True, False, False, False]]
    rows = prune(weight, statistics, PruneSpec("magnitude", 0.5, per_row=True))
    assert rows.kept.tolist() == [[False, True, True, False], [True, False, False, True]]


def test_ties_are_cut_at_the_exact_count() -> None:
    weight = torch.ones(8, 16)
    for method in ("magnitude", "wanda"):
        result = prune(weight, hessian(torch.eye(16)), PruneSpec(method, 0.5, per_row=True))
        assert ((~result.kept).sum(dim=1) == 8).all()
        assert not result.kept[:, :8].any()


def test_rounding_uses_at_most_the_grid_and_keeps_zero() -> None:
    weight, inputs = layer(rows=10, width=64)
    for method in ("sparsegpt", "wanda", "magnitude"):
        result = prune(weight, hessian(inputs), PruneSpec(method, 0.5, bits=2))
        assert all(len(row.unique()) <= 4 for row in result.weight)
        assert (result.weight[~result.kept] == 0).all()
    errors = [
        float(prune(weight, hessian(inputs), PruneSpec("sparsegpt", 0.5, bits=bits)).row_error.sum())
        for bits in (2, 4, 8)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_16_bit_weights_stay_16_bit() -> None:
    weight, inputs = layer()
    result = prune(weight.bfloat16(), hessian(inputs.bfloat16()), PruneSpec(sparsity=0.5))
    assert result.weight.dtype == torch.bfloat16
    assert result.sparsity == pytest.approx(0.5, abs=1e-3)


def test_factors_equal_numpy_and_survive_batches() -> None:
    _, inputs = layer(width=230, tokens=800)
    matrices = torch.stack([hessian(inputs).matrix, hessian(inputs[:300]).matrix])
    factors = factorise(matrices, 0.01, ["a", "b"])
    for matrix, lower in zip(matrices, factors.lower, strict=True):
        truth = np.linalg.inv(slow_factor(matrix.numpy(), 0.01)).T
        np.testing.assert_allclose(lower, truth, atol=1e-5 * np.abs(truth).max())
        assert not torch.triu(lower, 1).any()
    assert factors.damping == (0.01, 0.01)


def test_hessian_in_batches_equals_all_at_once() -> None:
    _, inputs = layer(tokens=500)
    running = None
    for part in inputs.split(120):
        running = add_inputs(running, part)
    assert running is not None
    assert running.tokens == 500
    truth = 2.0 / 500 * inputs.double().T @ inputs.double()
    np.testing.assert_allclose(running.matrix, truth, rtol=1e-4, atol=1e-4)


def test_dead_inputs_lose_their_weights_and_are_counted() -> None:
    weight, inputs = layer()
    inputs[:, [5, 20]] = 0.0
    result = prune(weight, hessian(inputs), PruneSpec(sparsity=0.5))
    assert result.dead == 2
    assert not result.weight[:, [5, 20]].any()
    assert result.sparsity == pytest.approx(0.5, abs=1e-3)
    truth, _ = slow_sparsegpt(weight.numpy(), hessian(inputs).matrix.numpy())
    assert output_error(weight.numpy(), result.weight.numpy(), inputs) == pytest.approx(
        output_error(weight.numpy(), truth, inputs), rel=0.01
    )


def test_singular_hessian_is_damped_and_more_if_need_be() -> None:
    weight, inputs = layer(tokens=5)
    result = prune(weight, hessian(inputs), PruneSpec(sparsity=0.5))
    assert result.damping == 0.01
    indefinite = -0.05 * torch.ones(8, 8) + torch.eye(8)
    indefinite[0, 1] = indefinite[1, 0] = -1.5
    escalated = prune(torch.randn(4, 8), Hessian(indefinite, 10), PruneSpec(sparsity=0.5))
    assert escalated.damping == pytest.approx(1.0)


def test_hessian_that_stays_singular_is_named_with_the_damping_tried() -> None:
    matrix = torch.full((4, 4), -1e9)
    matrix.diagonal().fill_(1.0)
    with pytest.raises(
        NumericsFailure, match=r"block 3 up_proj, cluster 2 stays singular: dampings 0.01 to 1000"
    ):
        factorise(torch.stack([torch.eye(4), matrix]), 0.01, ["first", "block 3 up_proj, cluster 2"])


def test_nan_never_loops() -> None:
    weight, inputs = layer()
    inputs[3, 7] = torch.nan
    with pytest.raises(NumericsFailure, match="input 7 of the layer is NaN"):
        hessian(inputs)
    broken = Hessian(torch.full((48, 48), torch.nan), 5)
    with pytest.raises(NumericsFailure, match="Hessian of block 2 fc1 holds NaN"):
        prune(weight, broken, PruneSpec(), "block 2 fc1")
    weight[6, 1] = torch.inf
    with pytest.raises(NumericsFailure, match="weights of neuron 6"):
        prune(weight, hessian(layer()[1]), PruneSpec())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sparsity": 1.2}, "sparsity is 1.2"),
        ({"sparsity": -0.1}, "sparsity is -0.1"),
        ({"sparsity": float("nan")}, "sparsity is nan"),
        ({"bits": 1}, "1 bits"),
        ({"bits": 9}, "9 bits"),
        ({"block": 0}, "0 columns"),
        ({"damping": 0.0}, "damping is 0"),
        ({"zeros": 2}, "both numbers"),
        ({"zeros": 5, "group": 4}, "5:4 is no pattern"),
    ],
)
def test_specs_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(NumericsFailure, match=message):
        PruneSpec(**values)


def test_pattern_that_does_not_divide_names_the_nearest() -> None:
    weight, inputs = layer(width=50)
    with pytest.raises(NumericsFailure, match="rows of 50 weights do not fall into groups of 4") as caught:
        prune(weight, hessian(inputs), PruneSpec(zeros=2, group=4))
    assert "50 is 5" in caught.value.hint
    with pytest.raises(NumericsFailure, match="does not fit a Hessian"):
        prune(weight[:, :40], hessian(inputs), PruneSpec())


def test_only_chosen_rows_are_pruned() -> None:
    weight, inputs = layer()
    statistics = hessian(inputs)
    rows = torch.tensor([3, 17, 20])
    result = prune_rows(weight, statistics, PruneSpec(sparsity=0.8), rows)
    others = torch.ones(40, dtype=torch.bool)
    others[rows] = False
    assert torch.equal(result.weight[others], weight[others])
    assert int((result.weight[rows] == 0).sum()) == round(0.8 * 3 * 48)
    assert (result.row_error[rows] > 0).all()
    assert not result.row_error[others].any()
    assert torch.equal(prune_rows(weight, statistics, PruneSpec(sparsity=0.8), ~others).weight, result.weight)
    none = prune_rows(weight, statistics, PruneSpec(sparsity=0.8), torch.zeros(40, dtype=torch.bool))
    assert torch.equal(none.weight, weight)
    with pytest.raises(NumericsFailure, match="neurons up to 40"):
        prune_rows(weight, statistics, PruneSpec(), torch.tensor([40]))


def test_factors_given_are_those_found() -> None:
    generator = torch.Generator().manual_seed(5)
    inputs, weight = torch.randn(200, 16, generator=generator), torch.randn(12, 16, generator=generator)
    found = hessian(inputs)
    factors = factorise(found.matrix.unsqueeze(0), 0.01)
    for spec in (PruneSpec(sparsity=0.5), PruneSpec(zeros=2, group=4)):
        want, got = prune(weight, found, spec), prune(weight, found, spec, factors=factors)
        assert torch.equal(got.weight, want.weight)
        assert (got.damping, got.dead) == (want.damping, want.dead)
