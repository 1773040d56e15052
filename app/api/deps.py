"""What routes rest on: settings, store and queue of the application they belong to, and the names in their paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response

from app.errors import InvalidRequest, QueueUnavailable
from app.queue import JobQueue
from app.schemas.evaluation import EVALUATION_PATTERN
from app.schemas.job import JOB_PATTERN, Job
from app.schemas.run import RUN_PATTERN
from app.schemas.sweep import SWEEP_PATTERN
from app.schemas.variant import EXPANSION_PATTERN, PRUNING_PATTERN
from app.settings import Settings
from app.store import Store


@dataclass
class Service:
    """The parts of one application; made in `app.main`, held by its state."""

    settings: Settings
    store: Store
    queue: JobQueue | None


@dataclass(frozen=True)
class Window:
    """Which part of a list."""

    limit: int
    offset: int


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _settings(service: Annotated[Service, Depends(_service)]) -> Settings:
    return service.settings


def _store(service: Annotated[Service, Depends(_service)]) -> Store:
    return service.store


def live_queue(service: Annotated[Service, Depends(_service)]) -> JobQueue:
    """The queue. Raises QueueUnavailable when the application has none."""
    if service.queue is None:
        raise QueueUnavailable(
            "No Redis is configured.",
            hint="Set WASSERSCOPE_REDIS_URL, or start with `wasserscope up`, which brings its own.",
        )
    return service.queue


def check_limit(limit: int, settings: Settings) -> None:
    """Raise InvalidRequest when a list is asked for beyond what one answer may hold."""
    if limit > settings.max_page:
        raise InvalidRequest(
            f"limit is {limit}; at most {settings.max_page} entries come at once.",
            hint="Go on with offset, or take format=csv or format=parquet for all rows.",
        )


def _window(
    settings: Annotated[Settings, Depends(_settings)],
    limit: Annotated[
        int, Query(ge=0, le=2**31, description="Most entries on this page.", examples=[50])
    ] = 50,
    offset: Annotated[
        int, Query(ge=0, le=2**53, description="Entries left out before it.", examples=[0])
    ] = 0,
) -> Window:
    check_limit(limit, settings)
    return Window(limit, offset)


ServiceDep = Annotated[Service, Depends(_service)]
SettingsDep = Annotated[Settings, Depends(_settings)]
StoreDep = Annotated[Store, Depends(_store)]
QueueDep = Annotated[JobQueue, Depends(live_queue)]
WindowDep = Annotated[Window, Depends(_window)]

RunName = Annotated[
    str,
    Path(pattern=RUN_PATTERN, description="The run's id.", examples=["smollm2-135m-instruct-4f1c2a9be0d7"]),
]
JobName = Annotated[
    str,
    Path(
        pattern=JOB_PATTERN,
        description="The job's id.",
        examples=["explore-smollm2-135m-instruct-4f1c2a9be0d7"],
    ),
]
LayerNumber = Annotated[
    int, Path(ge=0, le=2**31 - 1, description="The block's number, from 0.", examples=[15])
]
ProjectionName = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9_.]{1,128}$", description="The projection's name.", examples=["up_proj"])
]
NeuronIndex = Annotated[
    int, Path(ge=0, le=2**31 - 1, description="Row of the weight, from 0.", examples=[402])
]

PruningName = Annotated[
    str, Path(pattern=PRUNING_PATTERN, description="The pruning's id.", examples=["p-4f1c2a9be0d7"])
]
ExpansionName = Annotated[
    str, Path(pattern=EXPANSION_PATTERN, description="The expansion's id.", examples=["x-0123456789ab"])
]
EvaluationName = Annotated[
    str, Path(pattern=EVALUATION_PATTERN, description="The evaluation's id.", examples=["e-4f1c2a9be0d7"])
]
SweepName = Annotated[
    str, Path(pattern=SWEEP_PATTERN, description="The sweep's id.", examples=["s-4f1c2a9be0d7"])
]
PruningQuery = Annotated[
    str | None,
    Query(pattern=PRUNING_PATTERN, description="Pruning to show the effect of.", examples=["p-4f1c2a9be0d7"]),
]
ExpansionQuery = Annotated[
    str | None,
    Query(
        pattern=EXPANSION_PATTERN, description="Expansion to show the effect of.", examples=["x-0123456789ab"]
    ),
]


def last_job(service: Service, run: str, subject: str | None = None) -> Job | None:
    """The job of a run or of something made from it, at work or ended last.

    None when there is none or Redis does not answer (see GET /health).
    """
    try:
        return service.queue.job_of(run, subject) if service.queue is not None else None
    except QueueUnavailable:
        return None


def accept(http: Request, response: Response, job: Job | None) -> None:
    """202 with the job's address as `Location`; 200 when there is nothing to do."""
    if job is None:
        response.status_code = 200
    else:
        response.headers["Location"] = f"{http.scope.get('root_path', '')}/v1/jobs/{job.id}"
