"""Jobs: the queue, one job, cancel, events and log."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api import checks
from app.api.deps import JobName, QueueDep, ServiceDep, WindowDep, accept
from app.api.problems import answers
from app.errors import NotFound, QueueUnavailable
from app.queue import JobQueue, Kind
from app.schemas.job import Job, JobLog, JobState
from app.schemas.page import Page
from app.schemas.run import RUN_PATTERN

router = APIRouter(prefix="/jobs", tags=["jobs"])

SUBJECT_PATTERN = r"^[pxes]-[0-9a-f]{12}$"

POLL_SECONDS = 0.5
BEAT_SECONDS = 15.0
"""How often a silent stream says that it lives."""


@router.get("", operation_id="listJobs", responses=answers(422))
def jobs(
    queue: QueueDep,
    window: WindowDep,
    state: Annotated[
        JobState | None, Query(description="Only jobs in this state.", examples=["running"])
    ] = None,
    run: Annotated[
        str | None,
        Query(
            pattern=RUN_PATTERN,
            description="Only jobs of this run.",
            examples=["smollm2-135m-instruct-4f1c2a9be0d7"],
        ),
    ] = None,
    subject: Annotated[
        str | None,
        Query(
            pattern=SUBJECT_PATTERN,
            description="Only jobs that make this pruning, expansion, evaluation or sweep.",
            examples=["p-4f1c2a9be0d7"],
        ),
    ] = None,
    kind: Annotated[Kind | None, Query(description="Only jobs of this kind.", examples=["explore"])] = None,
) -> Page[Job]:
    """Jobs, the newest first. Records of ended jobs are forgotten after a while; what they stored is not."""
    return queue.jobs(window.limit, window.offset, state=state, run=run, subject=subject, kind=kind)


@router.get("/{job}", operation_id="getJob", responses=answers(404, 422))
def one(queue: QueueDep, job: JobName) -> Job:
    """One job: state, phase, progress, place in the queue, worker."""
    return queue.get(job)


@router.post("/{job}/cancel", operation_id="cancelJob", responses=answers(404, 409, 422))
def cancel(queue: QueueDep, job: JobName) -> Job:
    """Ask a job to stop: a queued one at once, a running one at its next batch, killed when that takes longer than
    WASSERSCOPE_CANCEL_GRACE_SECONDS. Until its process is gone it is `running` with `cancelling`; `cancelled` means that
    its device is free. Finished blocks are kept.
    """
    return queue.cancel(job)


@router.post("/{job}/retry", operation_id="retryJob", status_code=202, responses=answers(404, 409, 422))
def retry(service: ServiceDep, queue: QueueDep, job: JobName, http: Request, response: Response) -> Job:
    """Try a failed or cancelled job again: the same work under the same id, at the end of the queue. Blocks and layers
    that are finished are kept, and its log begins anew. 409 while it waits, runs, or after it has finished.
    """
    checks.repeatable(service, queue.get(job))
    made = queue.retry(job)
    accept(http, response, made)
    return made


@router.get("/{job}/log", operation_id="getJobLog", responses=answers(404, 422))
def log(queue: QueueDep, job: JobName) -> JobLog:
    """What the job wrote."""
    return queue.log(job)


def _existing(queue: QueueDep, job: JobName) -> Job:
    return queue.get(job)


@router.get(
    "/{job}/events",
    operation_id="streamJob",
    response_class=EventSourceResponse,
    responses=answers(404, 422),
)
async def events(
    request: Request,
    queue: QueueDep,
    first: Annotated[Job, Depends(_existing)],
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event that was received.", examples=["12"])
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `progress` with the job whenever it changes, and one last `end` when it is final."""
    number = (
        int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 16 else 0
    )
    async for found in _changes(queue, first):
        if await request.is_disconnected():
            return
        if found is None:
            yield ServerSentEvent(comment="still here")
            continue
        number += 1
        yield ServerSentEvent(event="end" if found.state.final else "progress", id=str(number), data=found)


async def _changes(queue: JobQueue, job: Job) -> AsyncIterator[Job | None]:
    """The job at each change until it is final; None now and then when nothing changes. Ends when the job is gone."""
    told, told_at = None, time.monotonic()
    while True:
        if job != told:
            told, told_at = job, time.monotonic()
            yield job
            if job.state.final:
                return
        elif time.monotonic() - told_at > BEAT_SECONDS:
            told_at = time.monotonic()
            yield None
        await anyio.sleep(POLL_SECONDS)
        try:
            job = await run_in_threadpool(queue.get, job.id)
        except QueueUnavailable:
            continue  # Redis is being restarted: the stream stays open and goes on with it
        except NotFound:
            return
