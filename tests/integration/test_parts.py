"""Jobs of several parts, with jobs that behave well or badly (`sample_jobs`): real Valkey, real workers."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
from fastapi.testclient import TestClient
from rq.serializers import JSONSerializer

from app.errors import Conflict, NotFound
from app.live import LiveKeys, connect, settle
from app.main import create_api
from app.queue import Kind, Work, explore_work
from app.queue.work import FUNCTIONS
from app.schemas.job import Job, JobState
from tests.integration.conftest import Stage, wait_for
from worker.engine import Engine

RUN = "sample-0123456789ab"
SUBJECT = "p-0123456789ab"
JOB = f"prune-{RUN}-{SUBJECT}"


@pytest.fixture(autouse=True)
def _sample(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in FUNCTIONS:
        monkeypatch.setitem(FUNCTIONS, kind, "tests.integration.sample_jobs.sample")


@pytest.fixture
def raw(stage: Stage) -> Any:
    """The server itself."""
    return redis.Redis.from_url(stage.valkey.url)


def work(*parts: str, kind: Kind = "prune", run: str = RUN, subject: str = SUBJECT, key: str = "") -> Work:
    return Work(kind, run, subject, "Prune a layer", tuple((run, part) for part in parts), key)


def submit(stage: Stage, **behaviour: str) -> Job:
    """A job with a part for each name, behaving as its value says."""
    for part, behave in behaviour.items():
        Path(stage.settings.store, f"behave-{part}").write_text(behave)
    return stage.queue.submit(work(*behaviour))


def go(stage: Stage, part: str) -> None:
    Path(stage.settings.store, f"go-{part}").touch()


def started(stage: Stage) -> int:
    file = Path(stage.settings.store, "started")
    return len(file.read_text().split()) if file.exists() else 0


def phase(stage: Stage, text: str, block: int = 1) -> Job:
    """The job once its phase begins with `text` and its parts have told of `block` blocks, one each."""

    def look() -> Job | None:
        job = stage.queue.get(JOB)
        return job if job.progress.phase.startswith(text) and (job.progress.block or 0) >= block else None

    found: Job = wait_for(look, 60, f"{text}, {block} blocks")
    return found


def test_parts_go_to_all_workers(stage: Stage) -> None:
    job = submit(stage, a="wait", b="wait", c="wait")
    assert (job.id, job.kind, job.run, job.subject, job.title, job.parts) == (
        JOB,
        "prune",
        RUN,
        SUBJECT,
        "Prune a layer",
        3,
    )
    assert (job.state, job.place, job.progress.phase, job.worker) == (JobState.queued, 1, "queued", None)
    workers = [stage.worker(), stage.worker()]
    running = phase(stage, "2 of 3 parts running: waiting", 2)
    assert (running.state, running.progress.block, running.progress.blocks) == (JobState.running, 2, 8)
    assert running.progress.fraction == pytest.approx(0.5 / 3)
    assert (running.device, running.place) == ("cpu", 1)
    assert [(info.state, info.job) for info in stage.queue.workers()] == [("busy", JOB)] * 2
    go(stage, "a")
    wait_for(lambda: started(stage) == 3, 30, "the third part to start")
    go(stage, "b")
    last = phase(stage, "1 of 3 parts running: waiting", 3)
    assert last.progress.fraction == pytest.approx(2.25 / 3)
    go(stage, "c")
    ended = stage.ended(JOB)
    assert (ended.state, ended.progress.fraction, ended.tries) == (JobState.finished, 1.0, 1)
    assert (ended.started_at, ended.ended_at) > (job.created_at, running.started_at)
    log = stage.queue.log(JOB)
    assert log.total == len(log.lines) == 3
    assert {line[:6] for line in log.lines} == {"[1/3] ", "[2/3] ", "[3/3] "}
    assert [line[6:25] for line in log.lines] == sorted(line[6:25] for line in log.lines)
    assert all(worker.process.poll() is None for worker in workers)


def test_all_parts_are_tried_again_with_their_key_and_blocks(stage: Stage, raw: Any) -> None:
    made = replace(work("a", "b", key="c0ffee"), blocks=(3, 1))
    for name in "ab":
        Path(stage.settings.store, f"behave-{name}").write_text("end")
    job = stage.queue.submit(made)
    assert (job.id, job.progress.blocks) == (f"{JOB}-c0ffee", 4)
    stage.queue.cancel(job.id)
    again = stage.queue.retry(job.id)
    assert (again.id, again.state, again.parts, again.title) == (job.id, JobState.queued, 2, job.title)
    assert again.progress.blocks == 4
    records = [rq.job.Job.fetch(f"{job.id}_{n}", connection=raw, serializer=JSONSerializer) for n in (1, 2)]
    assert [tuple(record.args) for record in records] == [(RUN, "a"), (RUN, "b")]
    stage.queue.cancel(job.id)
    raw.delete(f"rq:job:{job.id}_2")
    with pytest.raises(Conflict, match="lost the record of a part"):
        stage.queue.retry(job.id)


def test_the_api_shows_one_job(stage: Stage) -> None:
    stage.worker()
    job = submit(stage, a="wait", b="wait")
    for part in "ab":
        go(stage, part)
    client = TestClient(create_api(stage.settings, store=stage.store, queue=stage.queue))
    events = client.get(f"/v1/jobs/{JOB}/events").text.strip().split("\n\n")
    assert ["event: end" in event for event in events] == [False] * (len(events) - 1) + [True]
    assert f'"id":"{JOB}"' in events[-1].replace(" ", "")
    assert '"state":"finished"' in events[-1].replace(" ", "")
    query = {"subject": SUBJECT, "kind": "prune", "state": "finished"}
    assert [found["id"] for found in client.get("/v1/jobs", params=query).json()["items"]] == [job.id]
    assert client.get("/v1/jobs", params=query | {"kind": "expand"}).json()["total"] == 0
    assert client.get("/v1/jobs", params={"subject": "elsewhere"}).status_code == 422
    assert client.get(f"/v1/jobs/{JOB}_1").status_code in {404, 422}


def test_cancel_in_the_middle_stops_all_parts(stage: Stage, raw: Any) -> None:
    stage.change(cancel_grace_seconds=120.0)
    stage.worker()
    stage.worker()
    submit(stage, a="wait", b="wait", c="wait", d="wait", e="wait")
    go(stage, "a")
    wait_for(lambda: started(stage) == 3, 60, "two parts to run and one to have ended")
    phase(stage, "2 of 5 parts running: waiting")
    asked = stage.queue.cancel(JOB)
    assert asked.cancelling or asked.state is JobState.cancelled
    ended = stage.ended(JOB, 30)  # long before anyone would kill it
    assert (ended.state, ended.problem, ended.cancelling) == (JobState.cancelled, None, False)
    assert stage.queue.cancel(JOB).state is JobState.cancelled
    assert started(stage) == 3
    assert raw.llen(f"rq:queue:{stage.queue.name}") == 0
    for part in "bcde":
        go(stage, part)
    assert stage.queue.submit(work("a", "b", "c", "d", "e")).cancelling is False
    assert stage.ended(JOB).state is JobState.finished
    assert started(stage) == 8


def test_a_waiting_job_is_cancelled_at_once(stage: Stage, raw: Any) -> None:
    submit(stage, a="wait", b="wait")
    cancelled = stage.queue.cancel(JOB)
    assert (cancelled.state, cancelled.place) == (JobState.cancelled, None)
    assert raw.llen(f"rq:queue:{stage.queue.name}") == 0


def test_one_part_fails_and_the_others_go_on(stage: Stage) -> None:
    stage.worker()
    submit(stage, a="fail", b="wait", c="wait")
    running = phase(stage, "1 of 3 parts running: waiting")
    assert running.state is JobState.running
    assert running.problem is not None
    assert running.problem.code == "corpus"
    for part in "bc":
        go(stage, part)
    ended = stage.ended(JOB)
    assert (ended.state, ended.tries, started(stage)) == (JobState.failed, 1, 3)
    assert ended.problem == running.problem
    assert ended.progress.phase.startswith("1 of 3 parts failed")
    # Submitted anew with other parts, it is another job under the same name.
    job = submit(stage, a="end", d="end")
    assert (job.parts, job.problem, job.created_at != ended.created_at) == (2, None, True)
    for part in "ad":
        go(stage, part)
    assert stage.ended(JOB).state is JobState.finished
    assert started(stage) == 5
    assert all("/2] " in line for line in stage.queue.log(JOB).lines)


def test_submits_join_the_job_that_is_at_it(stage: Stage, raw: Any) -> None:
    for part in "abc":
        Path(stage.settings.store, f"behave-{part}").write_text("wait")
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: stage.queue.submit(work("a", "b", "c")), range(16)))
    assert len({job.created_at for job in jobs}) == 1
    assert raw.llen(f"rq:queue:{stage.queue.name}") == 3
    stage.worker()
    phase(stage, "1 of 3 parts running")
    go(stage, "a")
    wait_for(lambda: started(stage) == 2, 30, "the second part")
    joined = stage.queue.submit(work("c"))
    assert (joined.parts, joined.created_at) == (3, jobs[0].created_at)
    for part in "bc":
        go(stage, part)
    assert stage.ended(JOB).state is JobState.finished
    assert started(stage) == 3


def test_a_killed_worker_s_part_is_taken_up_again(stage: Stage) -> None:
    workers = {worker.process.pid: worker for worker in (stage.worker(), stage.worker())}
    submit(stage, a="wait", b="wait")
    both = phase(stage, "2 of 2 parts running: waiting")
    assert both.worker is not None
    killed = workers[
        int(both.worker.split("-")[-2])
    ]  # a worker's name ends with its process and a random number
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.wait()
    go(stage, "b")
    phase(stage, "1 of 2 parts")
    go(stage, "a")
    ended = stage.ended(JOB)
    assert (ended.state, ended.tries, started(stage)) == (JobState.finished, 2, 3)
    lines = stage.queue.log(JOB).lines
    assert any(line.startswith("[1/2]") and "The worker that had the job died" in line for line in lines)


def test_lists_by_subject_and_kind(stage: Stage) -> None:
    queue = stage.queue
    queue.submit(explore_work(RUN))
    queue.submit(work("a", "b"))
    queue.submit(work("a", key="15"))
    queue.submit(work("a", kind="expand", subject="x-0123456789ab"))
    queue.submit(work("a", run="sample-ba9876543210"))
    assert [job.kind for job in queue.jobs_of(RUN)] == ["expand", "prune", "prune", "explore"]
    assert [job.id for job in queue.jobs_of(RUN, SUBJECT)] == [f"{JOB}-15", JOB]
    assert queue.jobs(9, 0, subject=SUBJECT).total == 3
    assert [job.parts for job in queue.jobs(1, 1, run=RUN, kind="prune").items] == [2]
    assert queue.jobs(9, 0, kind="evaluate").total == 0
    queue.cancel(f"{JOB}-15")
    cancelled, unfinished = queue.jobs_of(RUN, SUBJECT)
    assert (cancelled.state, queue.job_of(RUN, SUBJECT)) == (JobState.cancelled, unfinished)
    assert [job.place for job in queue.jobs(9, 0, state=JobState.queued).items] == [5, 4, 2, 1]
    queue.cancel(JOB)
    assert queue.job_of(RUN, SUBJECT) == queue.get(f"{JOB}-15")
    assert queue.job_of(RUN, "p-ffffffffffff") is None
    with pytest.raises(NotFound):
        queue.get(f"{JOB}_1")


def test_a_page_reads_only_its_own_jobs(stage: Stage, raw: Any) -> None:
    for number in range(20):
        stage.queue.submit(work("a", "b", key=str(number)))
    raw.config_resetstat()
    page = stage.queue.jobs(2, 5)
    calls = {name: stat["calls"] for name, stat in raw.info("commandstats").items()}
    assert (page.total, [job.place for job in page.items]) == (20, [29, 27])
    assert calls["cmdstat_hgetall"] == 2 + 4 + 4  # facts, RQ's records, live states
    assert sum(calls.values()) < 25


def test_all_of_a_job_dies_together(stage: Stage, raw: Any) -> None:
    stage.change(job_ttl_seconds=2)
    keys = LiveKeys(stage.queue.name)
    stage.worker()
    submit(stage, a="wait", b="wait")
    go(stage, "a")
    wait_for(lambda: raw.hget(keys.record(f"{JOB}_1"), "status") == b"finished", 60, "the first part to end")
    wait_for(lambda: started(stage) == 2, 30, "the second part")
    assert [raw.ttl(key) for key in (keys.facts(JOB), *keys.all_of(f"{JOB}_1"))] == [-1, -1, -1, -2, -1]
    go(stage, "b")
    stage.ended(JOB)
    wait_for(lambda: not list(raw.scan_iter(f"*{JOB}*")), 30, "all of the job to be gone")
    assert stage.queue.jobs(9, 0).total == 0
    with pytest.raises(NotFound):
        stage.queue.log(JOB)


def test_a_job_without_records_is_forgotten(stage: Stage, raw: Any) -> None:
    keys = LiveKeys(stage.queue.name)
    submit(stage, a="wait", b="wait")
    raw.delete(keys.record(f"{JOB}_2"))
    half = stage.queue.cancel(JOB)
    assert half.problem is not None
    assert (half.state, half.problem.code) == (JobState.failed, "worker-lost")
    assert 0 < raw.ttl(keys.facts(JOB)) <= stage.settings.job_ttl_seconds
    raw.delete(keys.record(f"{JOB}_1"))
    raw.hset(keys.record(f"{JOB}_2"), "last_heartbeat", "2026-01-31T12:00:00Z")  # a worker that was late
    assert stage.queue.jobs(9, 0).total == 0
    assert stage.queue.jobs_of(RUN) == []
    assert not list(raw.scan_iter(f"*facts*{JOB}*"))


def test_a_part_that_is_given_up_gets_its_time_to_live(stage: Stage, raw: Any) -> None:
    """What a worker does about the jobs of dead ones, in this process."""
    stage.change(max_tries=1)
    keys = LiveKeys(stage.queue.name)
    submit(stage, a="wait")
    raw.lpop(f"rq:queue:{stage.queue.name}")
    raw.hset(keys.record(JOB), "status", "started")
    raw.zadd(f"rq:wip:{stage.queue.name}", {f"{JOB}:no-execution": 1})
    assert stage.queue.get(JOB).state is JobState.running
    connection = connect(stage.valkey.url)
    queue = rq.Queue(stage.queue.name, connection=connection, serializer=JSONSerializer)
    engine = Engine([queue], connection=connection, serializer=JSONSerializer)
    engine.equip(stage.settings, keys, {}).clean_registries()
    job = stage.queue.get(JOB)
    assert job.problem is not None
    assert (job.state, job.problem.code) == (JobState.failed, "worker-lost")
    assert all(raw.ttl(key) > 0 for key in (keys.facts(JOB), keys.record(JOB), keys.log(JOB)))
    settle(connection, keys, "prune-never-was", 5)
