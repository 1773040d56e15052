"""Jobs: submitted once, looked at, cancelled.

A job's id follows from its work (`app.queue.work`), so the same work asked for twice is one job. It has one part or
several, each one job of RQ's, done by whichever worker is free; people see one job. RQ holds whether a part waits or runs
and who has it; the live state beside it (`app.live`) holds the job's facts and each part's progress, problem and log. Parts
are named by dotted name and carry JSON: the service never imports a worker, and what is in Redis is never unpickled.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import rq
from redis.exceptions import RedisError
from rq.exceptions import InvalidJobOperation
from rq.serializers import JSONSerializer

from app.errors import Conflict, NotFound, QueueUnavailable
from app.live import LiveKeys, connect, decoded, job_of_part, queue_name, settle
from app.queue.facts import Facts
from app.queue.records import Entry, Records
from app.queue.view import worker_view
from app.queue.work import Work, explore_work
from app.schemas.health import Part, WorkerInfo
from app.schemas.job import Job, JobLog, JobState
from app.schemas.page import Page
from app.settings import Settings

LOOKS = 5
"""How often a page of jobs is read anew when jobs die meanwhile."""


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
        self._records = Records(self._redis, self._keys)

    def submit(self, work: Work) -> Job:
        """Queue `work`; the job that is already at it, if there is one.

        An ended job of the same id is replaced by one with the parts of `work`. Two submits at once make one job.
        """

        def fill(pipe: Any) -> None:
            before = self._records.entry(work.job_id)
            if before is not None:
                pipe.watch(*[self._keys.record(name) for name in before.facts.names])
                before = self._records.entry(work.job_id)  # now nobody changes it without being noticed
            if before is not None and not before.state.final:
                return
            pipe.multi()
            if before is not None:
                self._records.forget(pipe, before)
            self._enqueue(pipe, work)

        with self._reachable():
            self._redis.transaction(fill, self._keys.facts(work.job_id))
        return self.get(work.job_id)

    def get(self, job_id: str) -> Job:
        """One job. Raises NotFound."""
        with self._reachable():
            return self._view(self._entry(job_id))

    def job_of(self, run: str, subject: str | None = None) -> Job | None:
        """The job that explores `run`, or the one at work on `subject` of it, else the last one; None without any."""
        with self._reachable():
            if subject is None:
                entry = self._records.entry(explore_work(run).job_id)
                return None if entry is None else self._view(entry)
        jobs = self.jobs_of(run, subject)
        return next((job for job in jobs if not job.state.final), jobs[0] if jobs else None)

    def jobs_of(self, run: str, subject: str | None = None) -> list[Job]:
        """All jobs of a run, or those of one of its prunings, expansions or evaluations, the newest first."""
        with self._reachable():
            return self._records.views(self._entries(run=run, subject=subject), self._queue)

    def jobs(
        self,
        limit: int,
        offset: int,
        *,
        state: JobState | None = None,
        run: str | None = None,
        subject: str | None = None,
        kind: str | None = None,
    ) -> Page[Job]:
        """Jobs, the newest first. Without `state` only the page's records are fetched."""
        with self._reachable():
            if state is not None or run is not None or subject is not None or kind is not None:
                found = self._entries(state=state, run=run, subject=subject, kind=kind)
                total, entries = len(found), found[offset : offset + limit]
            else:
                total, entries = self._page(limit, offset)
            items = self._records.views(entries, self._queue)
        return Page(items=items, total=total, limit=limit, offset=offset)

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop. Parts that wait are cancelled at once; those that run at their next batch, or killed when
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
            # The flags come first: a worker that takes a part in this very moment finds its flag.
            for name in self._entry(job_id).facts.names:
                self._redis.set(
                    self._keys.cancel(name), repr(time.time()), ex=self._settings.job_ttl_seconds, nx=True
                )
            for record in self._entry(job_id).parts_in(JobState.queued):
                with contextlib.suppress(InvalidJobOperation):  # someone else cancelled it meanwhile
                    record.cancel()
                ended = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                self._redis.hset(record.key, "ended_at", ended)
            settle(self._redis, self._keys, job_id, self._settings.job_ttl_seconds)
        return self.get(job_id)

    def retry(self, job_id: str) -> Job:
        """Queue the work of a failed or cancelled job again; it goes on where it stopped, under the same id. Raises
        NotFound, and Conflict when it has not ended so.
        """
        with self._reachable():
            entry = self._entry(job_id)
            if entry.state not in {JobState.failed, JobState.cancelled}:
                raise Conflict(
                    f"Job '{job_id}' is {entry.state}.", hint="Only failed or cancelled jobs are tried again."
                )
            work = entry.work()
        return self.submit(work)

    def log(self, job_id: str) -> JobLog:
        """What the job wrote, the parts of several together in the order of time; the last lines of it when it is long.
        Raises NotFound.
        """
        with self._reachable():
            return self._records.log(self._entry(job_id).facts)

    def workers(self) -> list[WorkerInfo]:
        """Live workers of this queue."""
        found = []
        with self._reachable():
            for name in sorted(n.decode() for n in self._redis.smembers(self._keys.workers)):
                rq_hash = decoded(self._redis.hgetall(f"rq:worker:{name}"))
                own = decoded(self._redis.hgetall(self._keys.worker(name)))
                if not own or "death" in rq_hash:
                    self._redis.srem(self._keys.workers, name)
                    continue
                running = self._redis.srandmember(f"rq:worker:{name}:executions")
                job = job_of_part(running.decode().rpartition(":")[0]) if running else None
                found.append(worker_view(name, rq_hash, own, job))
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

    def _enqueue(self, pipe: Any, work: Work) -> None:
        """All parts at once: whoever sees the job sees all of it."""
        now = datetime.now(UTC)
        facts = Facts.of(work, now)
        ttl, tries = self._settings.job_ttl_seconds, self._settings.max_tries
        pipe.hset(self._keys.facts(facts.job), mapping=facts.fields())
        pipe.zadd(self._keys.jobs, {facts.job: now.timestamp()})
        for name, arguments in zip(facts.names, work.parts, strict=True):
            pipe.delete(*self._keys.all_of(name))
            self._queue.enqueue_call(
                work.function,
                args=list(arguments),
                job_id=name,
                timeout=self._settings.job_timeout_seconds,
                result_ttl=ttl,
                failure_ttl=ttl,
                description=f"{name}: {work.title}",
                # Only a lost worker leads to a new try; a job's own failure is final (worker.engine).
                retry=rq.Retry(max=tries - 1, enqueue_at_front=True) if tries > 1 else None,
                pipeline=pipe,
            )

    def _page(self, limit: int, offset: int) -> tuple[int, list[Entry]]:
        """How many jobs there are, and some of them."""
        for _ in range(LOOKS):
            names = self._records.names()
            page = names[offset : offset + limit]
            entries = self._records.entries(self._records.facts(page))
            if len(entries) == len(page):  # else some were forgotten on the way, and the next look finds less
                break
        return len(names), entries

    def _entries(
        self,
        *,
        state: JobState | None = None,
        run: str | None = None,
        subject: str | None = None,
        kind: str | None = None,
    ) -> list[Entry]:
        """The jobs that fit, the newest first."""
        wanted = {"run": run, "subject": subject, "kind": kind}
        fits = [
            facts
            for facts in self._records.facts(self._records.names())
            if all(value is None or getattr(facts, name) == value for name, value in wanted.items())
        ]
        return [entry for entry in self._records.entries(fits) if state is None or entry.state is state]

    def _entry(self, job_id: str) -> Entry:
        found = self._records.entry(job_id)
        if found is None:
            raise NotFound(
                f"There is no job '{job_id}'.",
                hint="Ended jobs are forgotten after a while; their runs stay in GET /api/v1/runs.",
            )
        return found

    def _view(self, entry: Entry) -> Job:
        return self._records.views([entry], self._queue)[0]

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise QueueUnavailable(
                f"Redis at {_without_password(self._url or '')} does not answer: {error}",
                hint="Start it, or correct WASSERSCOPE_REDIS_URL. Finished runs can be read meanwhile.",
            ) from error


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://{tail}" if at else url
