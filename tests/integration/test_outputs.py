"""A layer's outputs through the queue, by a real worker: stored once, the same bits, and back after a death."""

from __future__ import annotations

import os
import signal

import numpy as np

from app.queue import outputs_work
from app.schemas.job import JobState
from app.schemas.run import RunRequest
from app.store import Store, keys
from app.store.outputs import ARRAY
from tests.integration.conftest import Stage
from tests.unit.tiny import save_tiny
from worker import device as devices
from worker.jobs.explore import explore_run
from worker.jobs.outputs import store_outputs
from worker.progress import LocalProgress

REQUEST = RunRequest(model="path:tiny", tokens=600, window=64, pairs=200)
PLACE = (1, "up_proj")


def test_a_worker_stores_a_layers_outputs(stage: Stage) -> None:
    save_tiny("llama", stage.folder / "tiny")
    run = stage.make_run(REQUEST, stage.store)
    device = devices.prepare(stage.settings)
    explore_run(run, stage.settings, stage.store, device, LocalProgress())

    work = outputs_work(run, *PLACE)
    job = stage.queue.submit(work).id
    assert stage.queue.submit(work).id == job
    worker = stage.worker()
    os.kill(worker.horse().pid, signal.SIGKILL)  # whatever it had written, the next try begins anew
    ended = stage.ended(job)
    assert (ended.state, ended.kind, ended.progress.fraction) == (JobState.finished, "outputs", 1.0)
    assert ended.tries == 2 or ended.tries == 1  # killed before it had taken the job, or after
    assert stage.queue.jobs(10, 0).total == 1
    assert any("48 neurons of 600 tokens" in line for line in stage.queue.log(job).lines)

    store = Store(stage.settings.store)
    assert store.outputs.verify(run, *PLACE) == []
    files = {name: store.files.read(keys.outputs(run, *PLACE, name)) for name in shards(store, run)}
    store.outputs.delete(run, *PLACE)
    store_outputs(run, *PLACE, stage.settings, store, device, LocalProgress())
    assert files == {name: store.files.read(keys.outputs(run, *PLACE, name)) for name in shards(store, run)}
    found = store.wd_interval(run, *PLACE, 3, 0.95, None)
    assert found.low is not None
    assert found.high is not None
    assert found.wd is not None
    assert found.low < found.wd < found.high
    assert np.isfinite(store.outputs.row(run, *PLACE, 3)).all()


def shards(store: Store, run: str) -> list[str]:
    """The files that hold the outputs."""
    return [name for name in store.outputs.require(run, *PLACE).files if name.startswith(ARRAY)]
