"""A sweep through the queue with a real worker: killed, cancelled, submitted again; the numbers of one that was not."""

from __future__ import annotations

import os
import shutil
import signal

from app.queue.work import Work
from app.schemas.job import JobState
from app.schemas.run import RunRequest
from app.schemas.sweep import SweepRequest
from app.store import Store
from tests.integration.conftest import Stage, wait_for
from tests.unit.tiny import save_tiny
from worker import device as devices
from worker.jobs.explore import explore_run
from worker.jobs.sweep import sweep_layer
from worker.progress import LocalProgress

REQUEST = RunRequest(model="path:tiny", tokens=1200, window=64, pairs=200)
SWEEP = SweepRequest(layer=1, projection="up_proj", experts=16, reduction=8)


def test_a_killed_and_cancelled_sweep_ends_as_one_that_was_left_alone(stage: Stage) -> None:
    save_tiny("llama", stage.folder / "tiny", blocks=2, intermediate_size=1536, hidden_size=64)
    run = stage.make_run(REQUEST, stage.store)
    device = devices.prepare(stage.settings)
    explore_run(run, stage.settings, stage.store, device, LocalProgress())
    shutil.copytree(stage.settings.store, stage.folder / "apart")
    worker, sweep = stage.worker(), stage.store.sweeps.create(run, SWEEP)
    work = Work("sweep", run, sweep, SWEEP.title, ((run, sweep),))
    job = stage.queue.submit(work).id
    assert stage.queue.submit(work).id == job

    wait_for(lambda: stage.store.sweeps.done(run, sweep), 60, "the first point")
    os.kill(worker.horse().pid, signal.SIGKILL)
    before = len(stage.store.sweeps.done(run, sweep))
    wait_for(lambda: len(stage.store.sweeps.done(run, sweep)) > before, 60, "a point of the second try")
    stage.queue.cancel(job)
    assert stage.ended(job).state is JobState.cancelled
    assert 0 < len(stage.store.sweeps.done(run, sweep)) < 28

    assert stage.queue.submit(work).id == job
    ended = stage.ended(job)
    assert (ended.state, ended.progress.fraction) == (JobState.finished, 1.0)
    apart = stage.settings.model_copy(update={"store": str(stage.folder / "apart")})
    alone = Store(apart.store)
    alone.sweeps.create(run, SWEEP)
    sweep_layer(run, sweep, apart, alone, device, LocalProgress())
    for index in (0, 700, 1535):
        want = alone.neuron_sweep(run, 1, "up_proj", index, sweep)
        assert stage.store.neuron_sweep(run, 1, "up_proj", index, sweep) == want
    lines = stage.queue.log(job).lines
    assert any("16 experts 90 %: 90 % zeros" in line for line in lines)
