"""What pruning and expansion would take, before any work."""

from __future__ import annotations

from typing import Any

import pytest

from app import catalog
from app.catalog import Pace
from app.schemas.expansion import ExpansionSettings
from app.schemas.model import Estimate
from app.schemas.pruning import NeuronChoice, PruningSettings
from app.schemas.run import RunModel
from app.settings import Settings

GATED = ["gate_proj", "up_proj", "down_proj"]
PACE = Pace(100.0, "cpu", 1)


@pytest.fixture(scope="module")
def demo() -> RunModel:
    found = catalog.inspect_model(catalog.resolve("demo", Settings()))
    return RunModel(**found.model_dump(include=set(RunModel.model_fields)))


def estimate(
    model: RunModel,
    made: PruningSettings | ExpansionSettings,
    missing: dict[int, list[str]] | None = None,
    *,
    tokens: int = 16_384,
    pace: Pace = PACE,
    parts: int = 1,
    **settings: Any,
) -> Estimate:
    missing = dict.fromkeys(range(model.blocks), GATED) if missing is None else missing
    return catalog.estimate_variant(model, made, missing, tokens, Settings(**settings), pace, parts)


PRUNED, EXPANDED = PruningSettings(sparsity=0.9), ExpansionSettings(sparsity=0.9)


def test_nothing_missing_takes_nothing(demo: RunModel) -> None:
    found = estimate(demo, PRUNED, {})
    assert (found.host_bytes, found.device_bytes, found.store_bytes, found.seconds) == (0, 0, 0, 0)
    assert found.tokens == 16_384


def test_blocks_add_up_in_time_and_store_but_not_in_memory(demo: RunModel) -> None:
    one, all_ = estimate(demo, PRUNED, {15: GATED}), estimate(demo, PRUNED)
    assert all_.seconds == pytest.approx(30 * one.seconds, rel=0.02)
    assert all_.store_bytes == pytest.approx(30 * one.store_bytes, abs=30)
    assert all_.host_bytes == one.host_bytes


def test_the_store_holds_a_bit_a_weight_and_the_values_that_stay(demo: RunModel) -> None:
    bare = PRUNED.model_copy(update={"compare": False})
    weights = 576 * 1536
    assert estimate(demo, bare, {0: ["up_proj"]}).store_bytes == int(weights * (1 / 8 + 0.1 * 4))
    dense = bare.model_copy(update={"sparsity": 0.0})
    assert estimate(demo, dense, {0: ["up_proj"]}).store_bytes == int(weights * (1 / 8 + 4))
    some = bare.model_copy(update={"neurons": NeuronChoice(share=0.5)})
    assert estimate(demo, some, {0: ["up_proj"]}).store_bytes == int(weights * (1 / 8 + 0.55 * 4))


def test_experts_multiply_weights_and_histograms(demo: RunModel) -> None:
    bare = EXPANDED.model_copy(update={"compare": False})
    one, many = (
        estimate(demo, bare.model_copy(update={"experts": experts}), {0: ["up_proj"]}) for experts in (1, 16)
    )
    assert many.store_bytes == pytest.approx(16 * one.store_bytes, abs=16)
    assert many.seconds > one.seconds
    assert many.host_bytes > one.host_bytes
    assert estimate(demo, EXPANDED).store_bytes > estimate(demo, bare).store_bytes


def test_many_experts_are_made_a_few_at_a_time(demo: RunModel) -> None:
    """Working memory is bounded: what still grows are the new weights."""
    few, many = (
        estimate(demo, EXPANDED.model_copy(update={"experts": experts}), {0: ["down_proj"]})
        for experts in (64, 256)
    )
    assert many.host_bytes - few.host_bytes == pytest.approx(192 * 576 * 1536 * 4, rel=0.1)


def test_the_demo_is_estimated_near_what_it_takes(demo: RunModel) -> None:
    """Measured on one core of 102 GFLOP/s with 8,192 tokens, seconds: a layer of 576 inputs and 1,536 neurons, Hessian
    0.04, SparseGPT 0.04, comparison 0.68 with its products; 16 experts of two such layers, router 0.07, experts 0.65,
    comparison 2.4; 16 experts of a layer of 1,536 inputs and 576 neurons, router 0.43, experts 1.5.
    """
    bare = {"compare": False}
    one = Pace(102.0, "cpu", 1)
    forward = 2 * 8192 * 3_981_312 * 1.6 / 102e9

    def seconds(made: PruningSettings | ExpansionSettings, names: list[str]) -> float:
        return 1.0 * estimate(demo, made, {0: names}, tokens=8192, pace=one).seconds - forward

    assert seconds(PRUNED.model_copy(update=bare), ["up_proj"]) == pytest.approx(0.08, abs=0.07)
    assert seconds(PRUNED, ["up_proj"]) == pytest.approx(0.08 + 0.68, rel=0.4)
    assert seconds(EXPANDED.model_copy(update=bare), GATED[:2]) == pytest.approx(0.07 + 0.65, rel=0.4)
    assert seconds(EXPANDED, GATED[:2]) == pytest.approx(0.07 + 0.65 + 2.4, rel=0.4)
    assert seconds(EXPANDED.model_copy(update=bare), GATED[2:]) == pytest.approx(0.43 + 1.5, rel=0.4)


def test_a_whole_model_in_sequence_is_estimated_near_what_it_takes(demo: RunModel) -> None:
    """Measured on two cores of 196 GFLOP/s together, 16,384 tokens, nothing compared: docs/results.md."""
    pace, bare = Pace(196.0, "cpu", 1), {"propagate": True, "compare": False}
    assert estimate(demo, PRUNED.model_copy(update=bare), pace=pace).seconds == pytest.approx(67, rel=0.25)
    expanded = estimate(demo, EXPANDED.model_copy(update=bare), pace=pace)
    assert expanded.seconds == pytest.approx(135, rel=0.25)
    assert expanded.host_bytes == pytest.approx(1.87e9, rel=0.25)


@pytest.mark.parametrize("slower", ["sparsegpt over wanda", "compare", "tokens", "expansion"])
def test_more_work_takes_more_time(demo: RunModel, slower: str) -> None:
    plain = estimate(demo, PRUNED).seconds
    less, more = {
        "sparsegpt over wanda": (
            estimate(demo, PRUNED.model_copy(update={"method": "wanda"})).seconds,
            plain,
        ),
        "compare": (estimate(demo, PRUNED.model_copy(update={"compare": False})).seconds, plain),
        "tokens": (plain, estimate(demo, PRUNED, tokens=65_536).seconds),
        "expansion": (plain, estimate(demo, EXPANDED).seconds),
    }[slower]
    assert less < 0.99 * more


def test_a_whole_model_in_sequence_holds_two_streams_of_inputs(demo: RunModel) -> None:
    alone, sequence = estimate(demo, PRUNED), estimate(demo, PRUNED.model_copy(update={"propagate": True}))
    assert sequence.host_bytes - alone.host_bytes == 16_384 * (576 + 1536) * 4


def test_workers_share_the_time_and_are_named(demo: RunModel) -> None:
    one, three = estimate(demo, PRUNED), estimate(demo, PRUNED, pace=Pace(100.0, "cuda:0", 3), parts=3)
    assert three.seconds == pytest.approx(one.seconds / 3, rel=0.02)
    assert three.basis == "measured: 100 GFLOP/s on cuda:0; 3 workers"
    assert one.basis == "measured: 100 GFLOP/s on cpu"


def test_without_a_measured_worker_the_basis_says_so(demo: RunModel) -> None:
    found = estimate(demo, PRUNED, pace=Pace(0.0, "", 0))
    assert found.seconds > 0
    assert "no live worker" in found.basis


def test_smaller_settings_take_less_memory(demo: RunModel) -> None:
    assert (
        estimate(demo, PRUNED, chunk_mebibytes=8).device_bytes
        < estimate(demo, PRUNED, chunk_mebibytes=256).device_bytes
    )
