"""What goes wrong in a job, seen from outside: the job says what and what to do, the worker takes the next one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from app.schemas.job import Job, JobState
from app.schemas.run import RunRequest, RunState
from tests.integration.conftest import Stage, wait_for
from tests.unit.tiny import save_tiny

REQUEST = RunRequest(model="path:tiny", tokens=600, window=64, pairs=200)
LONG = REQUEST.model_copy(update={"tokens": 6000})
DEEP = LONG.model_copy(update={"model": "path:deep"})
"""So many blocks that whatever happens after the first one happens in mid-run, also on a fast machine."""


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    return save_tiny("llama", tmp_path / "deep", blocks=48)


def failed(stage: Stage, job: str) -> Job:
    ended = stage.ended(job)
    assert ended.state is JobState.failed
    return ended


def next_job_works(stage: Stage, request: RunRequest = REQUEST) -> None:
    run, job = stage.submit(request.model_copy(update={"seed": 99}))
    assert stage.ended(job).state is JobState.finished
    assert stage.store.run(run).state is RunState.finished


def test_nan_weights(stage: Stage, tiny: Path) -> None:
    shutil.copytree(tiny, tiny.with_name("good"))
    path = tiny / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["model.layers.1.mlp.up_proj.weight"][2, 3] = torch.nan
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    stage.worker()
    run, job = stage.submit(REQUEST)
    problem = failed(stage, job).problem
    assert problem is not None
    assert problem.code == "numerics"
    assert "1" in problem.detail
    assert "up_proj" in problem.detail
    assert problem.hint
    assert stage.store.run(run).state is RunState.incomplete
    next_job_works(stage, REQUEST.model_copy(update={"model": "path:good"}))


def test_a_text_that_is_too_short(stage: Stage) -> None:
    stage.worker()
    _, job = stage.submit(REQUEST.model_copy(update={"tokens": 4_000_000}))
    problem = failed(stage, job).problem
    assert problem is not None
    assert problem.code == "corpus"
    assert "4,000,000" in problem.detail


def test_out_of_memory(stage: Stage) -> None:
    """The limit leaves room for the program, its libraries and a small run, and none for a large one."""
    save_tiny("llama", stage.folder / "wide", hidden_size=256, intermediate_size=2048)
    request = REQUEST.model_copy(update={"model": "path:wide"})
    code = "import worker.jobs.explore, psutil; print(psutil.Process().memory_info().vms)"
    idle = int(subprocess.check_output([sys.executable, "-c", code], text=True))
    stage.change(memory_limit_mebibytes=idle // 2**20 + 600)
    worker = stage.worker()
    run, job = stage.submit(request.model_copy(update={"tokens": 60_000}))
    problem = failed(stage, job).problem
    assert problem is not None
    assert problem.code == "out-of-memory"
    assert "was estimated to need" in problem.detail
    assert f"{stage.settings.memory_limit_mebibytes:,} MiB" in problem.detail
    assert "tokens=30000" in problem.hint
    assert "WASSERSCOPE_CHUNK_MEBIBYTES=64" in problem.hint
    assert stage.store.run(run).state is RunState.incomplete
    next_job_works(stage, request)
    assert worker.process.poll() is None


def test_cancel_in_mid_run_then_go_on(stage: Stage, deep: Path) -> None:
    stage.change(cancel_grace_seconds=120.0)
    stage.worker()
    run, job = stage.submit(DEEP)
    wait_for(lambda: stage.store.blocks_done(run), 60, "the first block")
    stage.queue.cancel(job)
    assert stage.ended(job, 30).state is JobState.cancelled
    assert stage.store.run(run).state is RunState.incomplete
    done = stage.store.blocks_done(run)
    assert done
    assert stage.store.layers(run)
    _, job = stage.submit(DEEP)
    assert stage.ended(job).state is JobState.finished
    assert stage.store.verify(run) == []


def test_redis_gone_in_mid_run(stage: Stage, deep: Path) -> None:
    stage.worker()
    run, job = stage.submit(DEEP)
    wait_for(lambda: stage.store.blocks_done(run), 60, "the first block")
    stage.valkey.kill()
    wait_for(lambda: stage.store.run(run).state is RunState.finished, 60, "the run to finish without Redis")
    assert stage.store.verify(run) == []
    stage.valkey.start()
    assert stage.ended(job, 60).state is JobState.finished
    next_job_works(stage)


def test_a_worker_killed_in_mid_run(stage: Stage, deep: Path) -> None:
    worker = stage.worker()
    run, job = stage.submit(DEEP)
    wait_for(lambda: stage.store.blocks_done(run), 60, "the first block")
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    assert stage.store.run(run).state is RunState.incomplete
    stage.worker()
    ended = stage.ended(job)
    assert (ended.state, ended.tries) == (JobState.finished, 2)
    assert stage.store.verify(run) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root and CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_store(stage: Stage, small_disk: Path) -> None:
    stage.use_store(small_disk / "store")
    stage.worker()
    run, job = stage.submit(LONG)
    problem = failed(stage, job).problem
    assert problem is not None
    assert problem.code == "store-full"
    assert str(small_disk) in problem.detail
    assert "WASSERSCOPE_STORE" in problem.hint
    assert stage.store.run(run).state is RunState.incomplete
    assert list(small_disk.rglob("*.tmp")) == []
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    _, job = stage.submit(LONG)
    assert stage.ended(job).state is JobState.finished


def test_a_store_that_became_read_only(stage: Stage, small_disk: Path) -> None:
    stage.use_store(small_disk / "store")
    run, job = stage.submit(REQUEST)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    stage.worker()
    problem = failed(stage, job).problem
    assert problem is not None
    assert problem.code == "store"
    assert "No permission to write" in problem.detail
    assert stage.store.run(run).state is RunState.incomplete
