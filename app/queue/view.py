"""A part of a job as people see it, from RQ's record and the live state beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rq.job import JobStatus

from app.errors import WorkerLost
from app.queue.facts import Facts
from app.schemas.health import WorkerInfo
from app.schemas.job import Job, JobState, Progress
from app.schemas.problem import Problem

_STATES = {
    JobStatus.STARTED: JobState.running,
    JobStatus.FINISHED: JobState.finished,
    JobStatus.FAILED: JobState.failed,
    JobStatus.STOPPED: JobState.cancelled,
    JobStatus.CANCELED: JobState.cancelled,
}


def state_of(status: JobStatus) -> JobState:
    """The job's state; RQ's created, queued, scheduled and deferred are all `queued` here."""
    return _STATES.get(status, JobState.queued)


def part_view(
    facts: Facts, record: Any, live: Mapping[str, str], *, place: int | None, cancel_asked: bool
) -> Job:
    """A part as if it were the whole job, from RQ's `record` (an rq.job.Job as fetched) and its `live` hash.

    A part without a record counts as failed: nobody knows any more how it ended.
    """
    if record is None:
        return _job(facts, state=JobState.failed, problem=Problem.of(_FORGOTTEN))
    state = state_of(record.get_status(refresh=False))
    queued = state is JobState.queued
    return _job(
        facts,
        state=state,
        progress=_progress(state, live),
        place=place if queued else None,
        worker=None if queued else record.worker_name,
        device=None if queued else live.get("device"),
        tries=int(live.get("tries", 0)),
        cancelling=cancel_asked and not state.final,
        started_at=None if queued else _utc(record.started_at),
        ended_at=_utc(record.ended_at) if state.final else None,
        problem=_problem(state, live),
    )


def worker_view(name: str, rq_hash: Mapping[str, str], own: Mapping[str, str], job: str | None) -> WorkerInfo:
    """A worker from RQ's hash and the one it wrote about its device."""
    seen = rq_hash.get("last_heartbeat")
    return WorkerInfo(
        name=name,
        state=rq_hash.get("state", "started"),
        device=own.get("device", ""),
        memory_bytes=int(own.get("memory_bytes", 0)),
        gflops=float(own.get("gflops", 0.0)),
        version=own.get("version", ""),
        job=job,
        seen_at=datetime.fromisoformat(seen) if seen else None,
    )


_FORGOTTEN = WorkerLost(
    "Redis has lost the record of a part of this job.",
    hint="Submit it again: what is finished is kept.",
)


def _job(facts: Facts, **values: Any) -> Job:
    return Job(
        id=facts.job,
        kind=facts.kind,
        run=facts.run,
        subject=facts.subject,
        title=facts.title,
        parts=facts.parts,
        layer=facts.first[0] if facts.first else None,
        projection=facts.first[1] if facts.first else None,
        created_at=facts.created_at,
        **values,
    )


def _progress(state: JobState, live: Mapping[str, str]) -> Progress:
    kept = Progress.model_validate_json(live["progress"]) if "progress" in live else Progress()
    if state is JobState.queued:
        return Progress(block=kept.block, blocks=kept.blocks)
    if state.final:
        ended: dict[str, Any] = {"eta_seconds": None, "tokens_per_second": None}
        if state is JobState.finished:
            ended |= {"phase": "finished", "fraction": 1.0}
        return kept.model_copy(update=ended)
    return kept if "progress" in live else Progress(phase="starting")


def _problem(state: JobState, live: Mapping[str, str]) -> Problem | None:
    if state is not JobState.failed:
        return None
    if "problem" in live:
        return Problem.model_validate_json(live["problem"])
    lost = WorkerLost(
        "The worker stopped without saying why.",
        hint="See the job's log, then submit it again: it goes on.",
    )
    return Problem.of(lost)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
