"""A sweep on a tiny random model: the numbers of prune and expand jobs with the same settings, point by point."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from app.errors import Conflict, CorruptStore, JobCancelled
from app.schemas.sweep import SweepRequest, points_of, settings_of
from app.schemas.variant import VariantKind
from tests.unit.jobs.test_variants import CPU, Bench
from worker.jobs import sweep as jobs
from worker.jobs.sweep import sweep_layer
from worker.progress import LocalProgress

REQUEST = SweepRequest(
    layer=1,
    projection="up_proj",
    sparsities=(0, 0.5, 0.9, 1),
    experts=4,
    expert_counts=(1, 2, 4),
    reduction=8,
)
INDICES = (0, 7, 31, 47)


class Stops(LocalProgress):
    """Cancelled once it has heard of so many points."""

    def __init__(self, after: int) -> None:
        self.lines: list[str] = []
        self.after = after

    def log(self, line: str) -> None:
        self.lines.append(line)

    def check(self) -> None:
        if len(self.lines) >= self.after:
            raise JobCancelled("The job was cancelled.", hint="Submit it again.")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench("llama", tmp_path_factory.mktemp("sweep"))


def make(bench: Bench, request: SweepRequest, progress: LocalProgress | None = None) -> str:
    sweep = bench.store.sweeps.create(bench.run, request)
    sweep_layer(bench.run, sweep, bench.settings, bench.store, CPU, progress or LocalProgress())
    return sweep


@pytest.fixture(scope="module")
def sweep(bench: Bench) -> str:
    return make(bench, REQUEST)


def test_points_are_sparsegpt_then_experts_then_numbers_of_experts() -> None:
    titles = [point.title for point in points_of(REQUEST)]
    amounts = ["0 %", "50 %", "90 %", "100 %", "2:4"]
    assert titles == [
        *(f"SparseGPT {amount}" for amount in amounts),
        *(f"4 experts {amount}" for amount in amounts),
        "1 experts 90 %",
        "2 experts 90 %",
    ]


def test_every_point_has_the_numbers_of_the_job_with_the_same_settings(bench: Bench, sweep: str) -> None:
    neurons = {i: bench.store.neuron_sweep(bench.run, 1, "up_proj", i, sweep) for i in INDICES}
    results = bench.store.sweeps.get(bench.run, sweep).results
    for number, settings in enumerate(settings_of(REQUEST)):
        variant = bench.change(settings, {1: ["up_proj"]})
        pruning, expansion = (variant, None) if variant.startswith("p") else (None, variant)
        [layer] = bench.store.variants.results(bench.run, variant)
        assert results[number].zero_share == layer.sparsity
        assert results[number].relative_error == pytest.approx(layer.relative_error, abs=1e-9)
        for index, found in neurons.items():
            shown = bench.store.distributions(bench.run, 1, "up_proj", index, pruning, expansion)
            want, got = shown.pruning or shown.expansion, found.points[number]
            assert want is not None
            assert (found.dense, found.low, found.width) == (shown.dense, shown.low, shown.width)
            if (
                settings.target == 0
            ):  # experts that change nothing have the dense outputs, whatever their sums' last bits
                assert (got.rmse, got.w1, got.counts) == (0.0, 0.0, found.dense)
                assert want.rmse == pytest.approx(0.0, abs=1e-5)
                continue
            assert got.counts == want.counts
            assert (got.wd, got.w1, got.rmse) == (want.wd, want.w1, want.rmse)
            assert got.relative_rmse == want.relative_rmse


def test_ri_is_the_ratio_of_two_errors_at_the_same_amount(bench: Bench, sweep: str) -> None:
    found = bench.store.neuron_sweep(bench.run, 1, "up_proj", 7, sweep)
    sparse = {(p.sparsity, p.pattern): p for p in found.points if p.kind is VariantKind.pruning}
    for point in found.points:
        if point.kind is VariantKind.pruning:
            assert point.ri is None
        elif point.sparsity == 0:
            assert point.ri == 1.0  # both exact
        else:
            assert point.ri == sparse[point.sparsity, point.pattern].rmse / point.rmse
    [one] = [p for p in found.points if p.experts == 1 and p.kind is VariantKind.expansion]
    assert one.ri == pytest.approx(1.0, rel=1e-3)  # one expert is SparseGPT


def test_rmse_is_that_of_the_outputs(bench: Bench, sweep: str) -> None:
    """Full sparsity leaves the bias, which Llama's layers have none of: the error is the outputs' root mean square."""
    for index in INDICES:
        found = bench.store.neuron_sweep(bench.run, 1, "up_proj", index, sweep)
        [gone] = [p for p in found.points if p.sparsity == 1 and p.kind is VariantKind.pruning]
        assert gone.rmse == pytest.approx(np.hypot(found.mean, found.std), rel=1e-5)
        assert gone.wd is None
        assert sum(gone.counts) == found.tokens


def test_a_cancelled_sweep_keeps_its_points_and_goes_on(bench: Bench, sweep: str) -> None:
    request = REQUEST.model_copy(update={"seed": 1})
    whole = make(bench, request)
    want = bench.store.neuron_sweep(bench.run, 1, "up_proj", 7, whole).points
    bench.store.sweeps.delete(bench.run, whole)
    with pytest.raises(JobCancelled):
        make(bench, request, Stops(5))
    before = bench.store.sweeps.get(bench.run, whole)
    assert (before.done, before.finished, before.results) == (5, False, [])
    with pytest.raises(Conflict, match="5 of 12 points"):
        bench.store.neuron_sweep(bench.run, 1, "up_proj", 7, whole)
    again = Stops(10**6)
    assert make(bench, request, again) == whole
    assert len([line for line in again.lines if "relative error" in line]) == 7
    assert bench.store.neuron_sweep(bench.run, 1, "up_proj", 7, whole).points == want
    assert bench.store.files.names(f"runs/{bench.run}/sweeps/{whole}/parts") == []


def test_a_finished_sweep_is_not_made_again(
    bench: Bench, sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.Session, "open", lambda *_: pytest.fail("the model was loaded"))
    progress = Stops(10**6)
    assert make(bench, REQUEST, progress) == sweep
    assert progress.lines == ["every point is done already; nothing is computed again"]


def test_a_damaged_point_is_named_and_made_again(bench: Bench) -> None:
    request = REQUEST.model_copy(update={"seed": 2, "patterns": ()})
    with pytest.raises(JobCancelled):
        make(bench, request, Stops(4))
    sweep = bench.store.sweeps.create(bench.run, request)
    part = Path(bench.store.files.path(f"runs/{bench.run}/sweeps/{sweep}/parts/002.npz"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 0xFF
    part.write_bytes(bytes(data))
    with pytest.raises(CorruptStore, match=r"002\.npz"):
        make(bench, request)
    make(bench, request)
    assert bench.store.sweeps.get(bench.run, sweep).finished


def test_batches_of_any_size_give_the_same_numbers(
    bench: Bench, sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = bench.store.neuron_sweep(bench.run, 1, "up_proj", 31, sweep).points
    bench.store.sweeps.delete(bench.run, sweep)
    monkeypatch.setattr(importlib.import_module("app.catalog.estimate_sweep"), "WEIGHTS_BYTES", 1)
    monkeypatch.setattr(jobs, "KEEP_BYTES", 0)
    assert make(bench, REQUEST) == sweep
    assert bench.store.neuron_sweep(bench.run, 1, "up_proj", 31, sweep).points == want


def test_phases_name_the_point(bench: Bench) -> None:
    told: list[str] = []
    fractions: list[float] = []

    class Listens(LocalProgress):
        def phase(self, text: str) -> None:
            told.append(text)

        def advance(self, fraction: float, **_: object) -> None:
            fractions.append(fraction)

    progress = Listens()
    make(bench, SweepRequest(layer=0, projection="down_proj", sparsities=(0.5, 0.9), experts=2), progress)
    assert "making 2 experts 50 %" in told
    assert "comparing SparseGPT 50 % to SparseGPT 2:4" in told
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert torch.is_grad_enabled()
