"""Queue and worker together, with jobs that behave well or badly (`sample_jobs`): real Valkey, real processes."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from app.errors import Conflict, NotFound, QueueUnavailable
from app.queue import JobQueue, explore_work
from app.queue.work import FUNCTIONS
from app.schemas.job import Job, JobState
from app.settings import Settings
from tests.integration.conftest import Stage, wait_for

RUN = "sample-0123456789ab"


@pytest.fixture(autouse=True)
def _sample(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in FUNCTIONS:
        monkeypatch.setitem(FUNCTIONS, kind, "tests.integration.sample_jobs.sample")


def submit(stage: Stage, behave: str, run: str = RUN) -> Job:
    Path(stage.settings.store, "behave").write_text(behave)
    return stage.queue.submit(explore_work(run))


def started(stage: Stage) -> list[int]:
    file = Path(stage.settings.store, "started")
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def go(stage: Stage) -> None:
    Path(stage.settings.store, "go").touch()


def test_a_job_from_submit_to_end(stage: Stage) -> None:
    job = submit(stage, "wait")
    assert (job.id, job.run, job.state, job.place, job.tries) == (
        f"explore-{RUN}",
        RUN,
        JobState.queued,
        1,
        0,
    )
    stage.worker()
    running = stage.running(job.id)
    assert (running.progress.phase, running.progress.block, running.progress.blocks) == ("waiting", 1, 4)
    assert (running.device, running.tries, running.place) == ("cpu", 1, None)
    assert running.started_at is not None
    wait_for(lambda: stage.queue.get(job.id).progress.tokens_per_second, 10, "a pace")
    [worker] = stage.queue.workers()
    assert (worker.state, worker.job, worker.device, worker.name) == ("busy", job.id, "cpu", running.worker)
    assert worker.gflops > 0
    assert worker.memory_bytes > 0
    go(stage)
    ended = stage.ended(job.id)
    assert (ended.state, ended.progress.fraction, ended.problem) == (JobState.finished, 1.0, None)
    log = stage.queue.log(job.id)
    assert log.lines[0].endswith("wait begins")
    assert log.total == len(log.lines)
    wait_for(lambda: stage.queue.workers()[0].state == "idle", 10, "the worker to be idle")


def test_many_submits_at_once_are_one_job(stage: Stage) -> None:
    Path(stage.settings.store, "behave").write_text("end")
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: stage.queue.submit(explore_work(RUN)), range(16)))
    assert len({job.created_at for job in jobs}) == 1
    assert stage.queue.jobs(10, 0).total == 1
    go(stage)
    stage.worker()
    stage.ended(jobs[0].id)
    assert len(started(stage)) == 1


def test_an_ended_job_is_replaced_on_submit(stage: Stage) -> None:
    stage.worker()
    job = submit(stage, "fail")
    failed = stage.ended(job.id)
    assert failed.state is JobState.failed
    assert failed.problem is not None
    assert (failed.problem.code, failed.problem.detail) == ("corpus", "The text is too short.")
    assert failed.problem.hint == "Post a longer one."
    assert failed.tries == 1
    go(stage)
    assert submit(stage, "wait").problem is None
    assert stage.ended(job.id).state is JobState.finished
    assert len(started(stage)) == 2


def test_an_unforeseen_error_keeps_its_details_in_the_log(stage: Stage) -> None:
    stage.worker()
    job = submit(stage, "raise")
    ended = stage.ended(job.id)
    assert (ended.state, ended.tries) == (JobState.failed, 1)
    assert ended.problem is not None
    assert ended.problem.code == "internal"
    assert "secret" not in ended.problem.model_dump_json()
    text = "\n".join(stage.queue.log(job.id).lines)
    assert "ZeroDivisionError: secret inner detail" in text
    assert "sample_jobs.py" in text


def test_a_process_that_dies_is_retried_then_fails(stage: Stage) -> None:
    stage.change(max_tries=2)
    stage.worker()
    job = submit(stage, "die")
    ended = stage.ended(job.id)
    assert (ended.state, ended.tries) == (JobState.failed, 2)
    assert ended.problem is not None
    assert ended.problem.code == "worker-lost"
    assert "killed by signal 9" in ended.problem.detail
    assert "tried 2 times" in ended.problem.detail
    assert len(started(stage)) == 2


def test_cancel_while_queued(stage: Stage) -> None:
    job = submit(stage, "end")
    cancelled = stage.queue.cancel(job.id)
    assert (cancelled.state, cancelled.place, cancelled.cancelling) == (JobState.cancelled, None, False)
    assert stage.queue.cancel(job.id).state is JobState.cancelled
    other = submit(stage, "end", "sample-other")
    go(stage)
    stage.worker()
    stage.ended(other.id)
    assert len(started(stage)) == 1
    assert stage.queue.get(job.id).state is JobState.cancelled
    submit(stage, "end")
    assert stage.ended(job.id).state is JobState.finished


def test_cancel_while_running_is_cooperative(stage: Stage) -> None:
    stage.change(cancel_grace_seconds=120.0)
    worker = stage.worker()
    job = submit(stage, "wait")
    stage.running(job.id)
    assert stage.queue.cancel(job.id).cancelling
    ended = stage.ended(job.id, 30)  # long before anyone would kill it
    assert (ended.state, ended.problem, ended.tries) == (JobState.cancelled, None, 1)
    with pytest.raises(NotFound):
        stage.queue.get("explore-nothing-here")
    go(stage)
    submit(stage, "wait")
    assert stage.ended(job.id).state is JobState.finished
    with pytest.raises(Conflict, match="finished already"):
        stage.queue.cancel(job.id)
    assert worker.process.poll() is None


def test_cancelled_is_told_when_the_process_is_gone_and_not_before(stage: Stage) -> None:
    """Until then the job runs and is `cancelling`: whoever waits for `cancelled` may use the device."""
    worker = stage.worker()
    job = submit(stage, "wait")
    stage.running(job.id)
    horse = worker.horse()
    stage.queue.cancel(job.id)
    while not (told := stage.queue.get(job.id)).state.final:
        assert (told.state, told.cancelling) == (JobState.running, True)
    assert not horse.is_running()
    assert (told.state, told.cancelling) == (JobState.cancelled, False)
    assert told.ended_at is not None
    lines = [line[20:] for line in stage.queue.log(job.id).lines]
    assert lines[-2:] == [
        "stopping: cancel was asked for",
        "cancelled: its process has ended; cpu is free",
    ]


def test_a_cancelled_and_a_failed_job_are_tried_again(stage: Stage) -> None:
    stage.worker()
    job = submit(stage, "fail")
    assert stage.ended(job.id).state is JobState.failed
    Path(stage.settings.store, "behave").write_text("wait")
    again = stage.queue.retry(job.id)
    assert (again.id, again.problem, again.title) == (job.id, None, job.title)
    stage.running(job.id)
    with pytest.raises(Conflict, match="is running"):
        stage.queue.retry(job.id)
    stage.queue.cancel(job.id)
    assert stage.ended(job.id, 10).state is JobState.cancelled
    go(stage)
    stage.queue.retry(job.id)
    assert stage.ended(job.id).state is JobState.finished
    with pytest.raises(Conflict, match="is finished"):
        stage.queue.retry(job.id)
    with pytest.raises(NotFound):
        stage.queue.retry("explore-nothing-here")
    assert len(started(stage)) == 3


def test_a_job_that_does_not_listen_is_killed_after_the_grace_time(stage: Stage) -> None:
    stage.change(cancel_grace_seconds=1.0)
    worker = stage.worker()
    job = submit(stage, "hang")
    stage.running(job.id)
    stage.queue.cancel(job.id)
    ended = stage.ended(job.id, 30)
    assert (ended.state, ended.tries) == (JobState.cancelled, 1)
    assert worker.process.poll() is None


def test_sigterm_ends_at_once_and_puts_the_job_back(stage: Stage) -> None:
    worker = stage.worker()
    job = submit(stage, "wait")
    stage.running(job.id)
    horse = worker.horse()
    assert worker.terminate(20) == 0  # the job itself would go on for minutes
    wait_for(lambda: not horse.is_running(), 10, "the job's process to be gone")
    assert stage.queue.get(job.id).state is JobState.queued
    assert stage.queue.workers() == []
    go(stage)
    stage.worker()
    ended = stage.ended(job.id)
    assert (ended.state, ended.tries) == (JobState.finished, 2)


def test_an_idle_worker_ends_at_once(stage: Stage) -> None:
    worker = stage.worker()
    wait_for(stage.queue.workers, 60, "the worker")
    assert worker.terminate(8) == 0  # it would wait ten seconds for a job
    assert stage.queue.workers() == []


def test_a_killed_worker_takes_its_job_along_and_another_goes_on(stage: Stage) -> None:
    worker = stage.worker()
    job = submit(stage, "wait")
    stage.running(job.id)
    horse = worker.horse()
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    wait_for(
        lambda: not horse.is_running() or horse.status() == psutil.STATUS_ZOMBIE,
        20,
        "the job's process to die",
    )
    go(stage)
    stage.worker()
    ended = stage.ended(job.id)
    assert (ended.state, ended.tries) == (JobState.finished, 2)
    assert any("The worker that had the job died" in line for line in stage.queue.log(job.id).lines)


@pytest.mark.parametrize("forget", [False, True])
def test_redis_gone_in_mid_job(stage: Stage, forget: bool) -> None:
    """The job goes on and ends well; the worker waits for Redis and takes the next job."""
    worker = stage.worker()
    job = submit(stage, "wait")
    stage.running(job.id)
    stage.valkey.kill()
    if forget:
        stage.valkey.forget()
    with pytest.raises(QueueUnavailable, match="does not answer"):
        stage.queue.get(job.id)
    with pytest.raises(QueueUnavailable):
        stage.queue.submit(explore_work(RUN))
    assert not stage.queue.ping().ok
    go(stage)
    wait_for(Path(stage.settings.store, "ended").exists, 40, "the job to end without Redis")
    stage.valkey.start()
    if not forget:
        ended = stage.ended(job.id, 60)
        assert (ended.state, ended.problem) == (JobState.finished, None)
    assert worker.process.poll() is None
    assert len(started(stage)) == 1
    other = submit(stage, "end", "sample-other")
    assert stage.ended(other.id, 60).state is JobState.finished


def test_a_worker_waits_for_redis_at_start(stage: Stage) -> None:
    job = submit(stage, "end")
    go(stage)
    stage.valkey.kill()
    worker = stage.worker()
    wait_for(lambda: "waiting for it" in worker.log.read_text(), 30, "the worker to say so")
    stage.valkey.start()
    assert stage.ended(job.id).state is JobState.finished


def test_lists_are_filtered_and_paged(stage: Stage) -> None:
    runs = [f"sample-{i:012d}" for i in range(4)]
    for run in runs:
        submit(stage, "end", run)
    stage.queue.cancel(f"explore-{runs[1]}")
    page = stage.queue.jobs(2, 1)
    assert page.total == 4
    assert [job.run for job in page.items] == [runs[2], runs[1]]
    assert [job.place for job in stage.queue.jobs(9, 0, state=JobState.queued).items] == [3, 2, 1]
    assert [job.run for job in stage.queue.jobs(9, 0, state=JobState.cancelled).items] == [runs[1]]
    assert [job.run for job in stage.queue.jobs(9, 0, run=runs[3]).items] == [runs[3]]
    found = stage.queue.job_of(runs[0])
    assert found is not None
    assert found.run == runs[0]
    assert stage.queue.job_of("sample-none") is None


def test_two_stores_on_one_redis_never_meet(stage: Stage) -> None:
    submit(stage, "end")
    other = JobQueue(stage.settings, "f" * 32)
    assert other.jobs(9, 0).total == 0
    assert other.name != stage.queue.name


def test_the_redis_password_is_on_no_command_line(stage: Stage) -> None:
    worker = stage.worker()
    submit(stage, "wait")
    horse = worker.horse()
    assert str(stage.valkey.socket) not in " ".join(
        [*horse.cmdline(), *psutil.Process(worker.process.pid).cmdline()]
    )


def test_no_redis_configured(tmp_path: Path) -> None:
    with pytest.raises(QueueUnavailable, match="No Redis is configured"):
        JobQueue(Settings(store=str(tmp_path)), "a" * 32)
