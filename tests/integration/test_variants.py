"""Prunings and expansions through the queue: several workers, deaths, cancels, a full disk; results bit-equal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.queue.work import Work
from app.schemas.evaluation import EvaluationRequest
from app.schemas.expansion import ExpansionSettings
from app.schemas.job import Job, JobState
from app.schemas.pruning import PruningSettings
from app.schemas.run import RunRequest
from app.store import Store
from app.store.variants import WEIGHTS
from tests.integration.conftest import Stage, wait_for
from tests.unit.tiny import save_tiny
from worker import device as devices
from worker.jobs.explore import explore_run
from worker.jobs.variant_jobs import change_run
from worker.progress import LocalProgress

BLOCKS = 12
REQUEST = RunRequest(model="path:tiny", tokens=600, window=64, pairs=200)
PRUNING = PruningSettings(sparsity=0.7)
EXPANSION = ExpansionSettings(sparsity=0.7, experts=4)
Settings = PruningSettings | ExpansionSettings


@pytest.fixture
def run(stage: Stage) -> str:
    """A finished run, made in this very process."""
    save_tiny("llama", stage.folder / "tiny", blocks=BLOCKS)
    made = stage.make_run(REQUEST, stage.store)
    explore_run(made, stage.settings, stage.store, devices.prepare(stage.settings), LocalProgress())
    return made


def work(stage: Stage, run: str, settings: Settings, parts: int = 1) -> tuple[str, Work]:
    """A variant's record and the work that makes it, blocks dealt to `parts`."""
    variant = stage.store.variants.create(run, settings)
    names = [p.name for p in stage.store.record(run).model.projections]
    todo: list[dict[str, list[str]] | None] = [
        {str(layer): names for layer in range(part, BLOCKS, parts)} for part in range(parts)
    ]
    if settings.propagate:
        todo = [None]
    kind = "prune" if variant.startswith("p") else "expand"
    arguments = tuple((run, variant, share) for share in todo)
    return variant, Work(kind, run, variant, settings.title, arguments)


def weights(store: Store, run: str, variant: str) -> dict[tuple[int, str], bytes]:
    return {
        (r.layer, r.projection): store.variants.read(run, variant, r.layer, r.projection, WEIGHTS)
        for r in store.variants.results(run, variant)
    }


def in_one_go(stage: Stage, run: str, settings: Settings) -> dict[tuple[int, str], bytes]:
    """The same variant made in this very process, from a copy of the store."""
    folder = stage.folder / "apart"
    shutil.copytree(stage.settings.store, folder, ignore=shutil.ignore_patterns("prunings", "expansions"))
    apart = stage.settings.model_copy(update={"store": str(folder)})
    store = Store(apart.store)
    variant = store.variants.create(run, settings)
    change_run(run, variant, None, apart, store, devices.prepare(apart), LocalProgress())
    return weights(store, run, variant)


@pytest.mark.parametrize("settings", [PRUNING, EXPANSION])
def test_blocks_fan_out_over_workers(stage: Stage, run: str, settings: Settings) -> None:
    stage.worker()
    stage.worker()
    variant, todo = work(stage, run, settings, parts=2)
    job = stage.ended(stage.queue.submit(todo).id)
    assert (job.state, job.parts, job.subject) == (JobState.finished, 2, variant)
    assert (job.progress.fraction, job.progress.block) == (1.0, BLOCKS)
    assert weights(stage.store, run, variant) == in_one_go(stage, run, settings)
    lines = stage.queue.log(job.id).lines
    assert sum("% zeros, relative error" in line for line in lines) == 3 * BLOCKS


@pytest.mark.parametrize("settings", [PRUNING, PRUNING.model_copy(update={"propagate": True})])
def test_a_killed_process_is_taken_up_where_it_stopped(stage: Stage, run: str, settings: Settings) -> None:
    worker = stage.worker()
    variant, todo = work(stage, run, settings)
    job = stage.queue.submit(todo).id
    wait_for(lambda: stage.store.variants.done(run, variant), 60, "the first layer")
    os.kill(worker.horse().pid, signal.SIGKILL)
    ended = stage.ended(job)
    assert (ended.state, ended.tries) == (JobState.finished, 2)
    assert weights(stage.store, run, variant) == in_one_go(stage, run, settings)


def test_the_same_work_twice_at_once_is_one_job(stage: Stage, run: str) -> None:
    _, todo = work(stage, run, PRUNING, parts=2)
    first, second = stage.queue.submit(todo), stage.queue.submit(todo)
    assert first.id == second.id
    stage.worker()
    assert stage.ended(first.id).state is JobState.finished
    assert stage.queue.jobs(10, 0).total == 1


def test_cancel_keeps_what_is_done(stage: Stage, run: str) -> None:
    stage.worker()
    variant, todo = work(stage, run, EXPANSION, parts=3)
    job = stage.queue.submit(todo).id
    wait_for(lambda: stage.store.variants.done(run, variant), 60, "the first layer")
    stage.queue.cancel(job)
    assert stage.ended(job).state is JobState.cancelled
    kept = weights(stage.store, run, variant)
    assert 0 < len(kept) < 3 * BLOCKS
    assert stage.ended(stage.queue.submit(todo).id).state is JobState.finished
    assert kept.items() <= weights(stage.store, run, variant).items()


def test_prune_evaluate_and_read(stage: Stage, run: str) -> None:
    stage.worker()
    variant, todo = work(stage, run, PRUNING.model_copy(update={"propagate": True}))
    assert stage.ended(stage.queue.submit(todo).id).state is JobState.finished
    request = EvaluationRequest(variants=[variant], tokens=256, window=64)
    evaluation = stage.store.evaluations.create(run, request)
    job = stage.queue.submit(Work("evaluate", run, evaluation, "perplexity", ((run, evaluation),)))
    assert stage.ended(job.id).state is JobState.finished
    dense, pruned = stage.store.evaluations.get(run, evaluation).results
    assert (dense.variant, pruned.variant) == (None, variant)
    assert pruned.ffn_sparsity == pytest.approx(0.7, abs=1e-3)
    assert dense.low <= dense.perplexity <= dense.high


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root and CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_in_mid_write(stage: Stage, small_disk: Path) -> None:
    stage.use_store(small_disk / "store")
    save_tiny("llama", stage.folder / "tiny", blocks=BLOCKS)
    run = stage.make_run(REQUEST, stage.store)
    explore_run(run, stage.settings, stage.store, devices.prepare(stage.settings), LocalProgress())
    disk = os.statvfs(small_disk)
    room = (disk.f_blocks - disk.f_bfree) * disk.f_bsize + 600 * 1024
    subprocess.run(["mount", "-o", f"remount,size={room}", str(small_disk)], check=True)
    stage.worker()
    variant, todo = work(stage, run, EXPANSION)
    failed: Job = stage.ended(stage.queue.submit(todo).id)
    assert failed.state is JobState.failed
    assert failed.problem is not None
    assert failed.problem.code == "store-full"
    assert "submit" in failed.problem.hint
    done = stage.store.variants.done(run, variant)
    assert all(stage.store.variants.sound(run, variant, *layer) for layer in done)
    assert list(small_disk.rglob("*.tmp")) == []
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert stage.ended(stage.queue.submit(todo).id).state is JobState.finished
    assert done < stage.store.variants.done(run, variant)
