"""Jobs: submitted once, looked at, cancelled.

A job's id follows from its run, so the same run asked for twice is one job. RQ holds whether a job waits or runs and who
has it; the live state beside it (`app.live`) holds progress, problem and log. Jobs are named by dotted name and carry
JSON: the service never imports a worker, and what is in Redis is never unpickled.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import rq
from redis.exceptions import RedisError
from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from app.errors import Conflict, NotFound, QueueUnavailable
from app.live import LiveKeys, connect, queue_name
from app.queue.view import KIND, job_view, state_of, worker_view
from app.schemas.health import Part, WorkerInfo
from app.schemas.job import Job, JobLog, JobState
from app.schemas.page import Page
from app.settings import Settings

EXPLORE = "worker.jobs.explore.explore"
"""Dotted name of the job's function."""


class JobQueue:
    """The queue of one store. Every method raises QueueUnavailable when Redis does not answer within two seconds."""

    def __init__(self, settings: Settings, store_id: str) -> None:
        self._settings = settings
        self.name = queue_name(store_id)
        self._keys = LiveKeys(self.name)
        self._url = settings.redis_url
        if self._url is None:
            raise QueueUnavailable(
                "No Redis is configured.",
                hint="Set WASSERSCOPE_REDIS_URL, or start with `wasserscope up`, which brings its own.",
            )
        self._redis: Any = connect(self._url)
        self._queue: Any = rq.Queue(self.name, connection=self._redis, serializer=JSONSerializer)

    @staticmethod
    def job_id(run: str) -> str:
        """Id of the job of `run`."""
        return f"{KIND}-{run}"

    def submit_explore(self, run: str) -> Job:
        """Queue the exploration of `run`; the job that is already at it, if there is one.

        An ended job of the same run is replaced. Two submits at once make one job.
        """
        job_id = self.job_id(run)
        with self._reachable(), self._redis.lock(self._keys.submit(job_id), timeout=10, blocking_timeout=5):
            record = self._record(job_id)
            if record is None or state_of(record.get_status(refresh=False)).final:
                self._forget(job_id, record)
                self._enqueue(job_id, run)
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """One job. Raises NotFound."""
        with self._reachable():
            record = self._record(job_id)
            if record is None:
                raise NotFound(
                    f"There is no job '{job_id}'.",
                    hint="Ended jobs are forgotten after a while; their runs stay in GET /api/v1/runs.",
                )
            return self._view(record)

    def job_of(self, run: str) -> Job | None:
        """The job of `run`, at work or ended; None when there is none."""
        with self._reachable():
            record = self._record(self.job_id(run))
            return None if record is None else self._view(record)

    def jobs(
        self, limit: int, offset: int, state: JobState | None = None, run: str | None = None
    ) -> Page[Job]:
        """Jobs, the newest first."""
        with self._reachable():
            names = [name.decode() for name in self._redis.zrevrange(self._keys.jobs, 0, -1)]
            if run is not None:
                names = [name for name in names if name == self.job_id(run)]
            records = rq.job.Job.fetch_many(names, connection=self._redis, serializer=JSONSerializer)
            gone = [name for name, record in zip(names, records, strict=True) if record is None]
            if gone:
                self._redis.zrem(self._keys.jobs, *gone)
            kept = [record for record in records if record is not None]
            if state is not None:
                kept = [record for record in kept if state_of(record.get_status(refresh=False)) is state]
            items = [self._view(record) for record in kept[offset : offset + limit]]
        return Page(items=items, total=len(kept), limit=limit, offset=offset)

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop. A queued one is cancelled at once; a running one at its next batch, or killed when
        that takes longer than `cancel_grace_seconds`. Cancelling twice is cancelling once. Raises Conflict when it
        has ended otherwise.
        """
        before = self.get(job_id)
        if before.state is JobState.cancelled:
            return before
        if before.state.final:
            raise Conflict(
                f"Job '{job_id}' is {before.state} already.", hint="Only queued or running jobs stop."
            )
        with self._reachable():
            # The flag comes first: a worker that takes the job in this very moment finds it.
            self._redis.set(
                self._keys.cancel(job_id), repr(time.time()), ex=self._settings.job_ttl_seconds, nx=True
            )
            record = self._record(job_id)
            if record is not None and state_of(record.get_status(refresh=False)) is JobState.queued:
                with contextlib.suppress(InvalidJobOperation):  # someone else cancelled it meanwhile
                    record.cancel()
                record.connection.hset(
                    record.key, "ended_at", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                )
                record.connection.expire(record.key, self._settings.job_ttl_seconds)
        return self.get(job_id)

    def log(self, job_id: str) -> JobLog:
        """What the job wrote; the last lines of it when it is long. Raises NotFound."""
        self.get(job_id)
        with self._reachable():
            lines = [line.decode() for line in self._redis.lrange(self._keys.log(job_id), 0, -1)]
            total = int(self._redis.hget(self._keys.job(job_id), "lines") or len(lines))
        return JobLog(job=job_id, lines=lines, total=max(total, len(lines)))

    def workers(self) -> list[WorkerInfo]:
        """Live workers of this queue."""
        found = []
        with self._reachable():
            for name in sorted(n.decode() for n in self._redis.smembers(self._keys.workers)):
                rq_hash = _text(self._redis.hgetall(f"rq:worker:{name}"))
                own = _text(self._redis.hgetall(self._keys.worker(name)))
                if not own or "death" in rq_hash:
                    self._redis.srem(self._keys.workers, name)
                    continue
                running = self._redis.srandmember(f"rq:worker:{name}:executions")
                found.append(
                    worker_view(name, rq_hash, own, running.decode().rpartition(":")[0] if running else None)
                )
        return found

    def ping(self) -> Part:
        """Whether Redis answers."""
        try:
            self._redis.ping()
        except (RedisError, OSError) as error:
            return Part(ok=False, detail=str(error))
        return Part(ok=True, detail=_without_password(self._url or ""))

    def require(self) -> None:
        """Raise QueueUnavailable when Redis does not answer."""
        with self._reachable():
            self._redis.ping()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _enqueue(self, job_id: str, run: str) -> None:
        tries = self._settings.max_tries
        with contextlib.suppress(DuplicateJobError):  # made by a client that holds no lock of ours
            self._queue.enqueue_call(
                EXPLORE,
                args=[run],
                job_id=job_id,
                unique=True,
                timeout=self._settings.job_timeout_seconds,
                result_ttl=self._settings.job_ttl_seconds,
                failure_ttl=self._settings.job_ttl_seconds,
                description=f"explore {run}",
                # Only a lost worker leads to a new try; a job's own failure is final (worker.engine).
                retry=rq.Retry(max=tries - 1, enqueue_at_front=True) if tries > 1 else None,
            )
        self._redis.zadd(self._keys.jobs, {job_id: time.time()})

    def _forget(self, job_id: str, record: Any) -> None:
        if record is not None:
            record.delete()
        keys = self._keys
        self._redis.delete(keys.job(job_id), keys.log(job_id), keys.cancel(job_id), f"rq:job:{job_id}")

    def _record(self, job_id: str) -> Any:
        try:
            return rq.job.Job.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
        except (NoSuchJobError, ValueError):  # ValueError: an id that RQ would never give
            return None

    def _view(self, record: Any) -> Job:
        live = _text(self._redis.hgetall(self._keys.job(record.id)))
        place = None
        if record.get_status(refresh=False) is JobStatus.QUEUED:
            found = self._queue.get_job_position(record.id)
            place = None if found is None else found + 1
        return job_view(
            record, live, place=place, cancel_asked=bool(self._redis.exists(self._keys.cancel(record.id)))
        )

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise QueueUnavailable(
                f"Redis at {_without_password(self._url or '')} does not answer: {error}",
                hint="Start it, or correct WASSERSCOPE_REDIS_URL. Finished runs can be read meanwhile.",
            ) from error


def _text(raw: dict[bytes, bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in raw.items()}


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://{tail}" if at else url
