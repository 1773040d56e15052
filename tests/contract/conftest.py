"""An API in process: a real store in a temporary folder with one small run, and a queue of one method each."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.errors import Conflict, NotFound, QueueUnavailable
from app.main import create_api
from app.queue import Work
from app.schemas.health import Part
from app.schemas.job import Job, JobLog, JobState
from app.schemas.page import Page
from app.settings import Settings
from app.store import Store
from tests.unit.store.made import make_run


class FakeQueue:
    """Holds jobs in a dictionary; `down` makes it behave as if Redis were gone."""

    def __init__(self) -> None:
        self.jobs_by_id: dict[str, Job] = {}
        self.down = False

    def require(self) -> None:
        if self.down:
            raise QueueUnavailable("Redis does not answer.", hint="Start it.")

    def submit(self, work: Work) -> Job:
        self.require()
        job = Job(
            id=work.job_id,
            kind=work.kind,
            state=JobState.queued,
            run=work.run,
            subject=work.subject,
            title=work.title,
            parts=len(work.parts),
            place=1,
            created_at=datetime.now(UTC),
        )
        if self.jobs_by_id.get(job.id, job).state.final:
            del self.jobs_by_id[job.id]
        return self.jobs_by_id.setdefault(job.id, job)

    def get(self, job_id: str) -> Job:
        self.require()
        if job_id not in self.jobs_by_id:
            raise NotFound(f"There is no job '{job_id}'.", hint="GET /api/v1/jobs")
        return self.jobs_by_id[job_id]

    def job_of(self, run: str, subject: str | None = None) -> Job | None:
        self.require()
        if subject is None:
            return self.jobs_by_id.get(f"explore-{run}")
        jobs = self.jobs_of(run, subject)
        return next((job for job in jobs if not job.state.final), jobs[0] if jobs else None)

    def jobs_of(self, run: str, subject: str | None = None) -> list[Job]:
        return self.jobs(1000, 0, run=run, subject=subject).items

    def jobs(self, limit: int, offset: int, **filters: Any) -> Page[Job]:
        self.require()
        found = [
            job
            for job in reversed(self.jobs_by_id.values())
            if all(value is None or getattr(job, name) == value for name, value in filters.items())
        ]
        return Page(items=found[offset : offset + limit], total=len(found), limit=limit, offset=offset)

    def cancel(self, job_id: str) -> Job:
        job = self.get(job_id).model_copy(update={"state": JobState.cancelled})
        self.jobs_by_id[job_id] = job
        return job

    def retry(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job.state not in {JobState.failed, JobState.cancelled}:
            raise Conflict(f"Job '{job_id}' is {job.state}.", hint="Only failed or cancelled jobs.")
        again = job.model_copy(update={"state": JobState.queued, "problem": None, "place": 1})
        self.jobs_by_id[job_id] = again
        return again

    def log(self, job_id: str) -> JobLog:
        self.get(job_id)
        return JobLog(job=job_id, lines=["started"], total=1)

    def workers(self) -> list[Any]:
        self.require()
        return []

    def ping(self) -> Part:
        return Part(ok=not self.down, detail="in memory")


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "models").mkdir()
    (tmp_path / "corpora").mkdir()
    return Settings(
        store=str(tmp_path / "store"),
        model_root=tmp_path / "models",
        corpus_root=tmp_path / "corpora",
        cache=tmp_path / "cache",
        max_body_mebibytes=1,
    )


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.store)


@pytest.fixture
def run(store: Store) -> str:
    run = make_run(store)
    if store.manifest(run) is None:
        store.finish(run, seconds=1.0)
    return run


@pytest.fixture
def api(settings: Settings, store: Store, queue: FakeQueue) -> TestClient:
    return TestClient(create_api(settings, store=store, queue=queue), raise_server_exceptions=False)  # type: ignore[arg-type]
