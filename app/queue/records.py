"""What Redis holds about jobs, read in few round trips: facts, RQ's records, live state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import rq
from rq.exceptions import NoSuchJobError
from rq.serializers import JSONSerializer

from app.errors import Conflict
from app.live import LOG_LINES, LiveKeys, decoded
from app.queue.facts import Facts
from app.queue.group import joint_state, merged_log, whole
from app.queue.view import part_view, state_of
from app.queue.work import Work
from app.schemas.job import Job, JobLog, JobState


@dataclass(frozen=True)
class Entry:
    """A job as Redis has it: its facts and RQ's record of each part (an rq.job.Job; None when it is gone)."""

    facts: Facts
    records: tuple[Any, ...]

    @property
    def gone(self) -> bool:
        """Whether RQ has forgotten all of it."""
        return all(record is None for record in self.records)

    @property
    def state(self) -> JobState:
        """Where the job stands."""
        return joint_state([_state(record) for record in self.records])

    def work(self) -> Work:
        """What was submitted. Raises Conflict where Redis has lost a part of it."""
        facts = self.facts
        if None in self.records:
            raise Conflict(
                f"Redis has lost the record of a part of job '{facts.job}', so its work is not known any more.",
                hint="Submit the request itself again: what is finished is kept.",
            )
        before = "-".join(name for name in (facts.kind, facts.run, facts.subject) if name)
        return Work(
            kind=facts.kind,  # type: ignore[arg-type]
            run=facts.run,
            subject=facts.subject,
            title=facts.title,
            parts=tuple(tuple(record.args) for record in self.records),
            key=facts.job.removeprefix(before).removeprefix("-"),
            blocks=facts.blocks,
            first=facts.first,
        )

    def parts_in(self, state: JobState) -> list[Any]:
        """The records of the parts in `state`."""
        return [record for record in self.records if record is not None and _state(record) is state]


class Records:
    """Reads and forgets the records of one queue. RedisError passes through."""

    def __init__(self, redis: Any, keys: LiveKeys) -> None:
        self._redis, self._keys = redis, keys

    def names(self) -> list[str]:
        """Ids of all jobs, the newest first."""
        names = [name.decode() for name in self._redis.zrevrange(self._keys.jobs, 0, -1)]
        keys = [self._keys.facts(name) for name in names]
        if not names or self._redis.exists(*keys) == len(keys):
            return names
        lives = self._each(keys, lambda pipe, key: pipe.exists(key))
        self._unlist([name for name, alive in zip(names, lives, strict=True) if not alive])
        return [name for name, alive in zip(names, lives, strict=True) if alive]

    def facts(self, jobs: Iterable[str]) -> list[Facts]:
        """The facts of those of `jobs` that are still known."""
        names = list(jobs)
        hashes = self._each(names, lambda pipe, name: pipe.hgetall(self._keys.facts(name)))
        found = [Facts.read(name, decoded(raw)) for name, raw in zip(names, hashes, strict=True)]
        return [facts for facts in found if facts is not None]

    def entries(self, jobs: Sequence[Facts]) -> list[Entry]:
        """Those of `jobs` that RQ still knows, with its records. The others are forgotten on the way."""
        names = [name for facts in jobs for name in facts.names]
        hashes = self._each(names, lambda pipe, name: pipe.hgetall(self._keys.record(name)))
        records = iter([self._record(name, raw) for name, raw in zip(names, hashes, strict=True)])
        found = [Entry(facts, tuple(next(records) for _ in facts.names)) for facts in jobs]
        for entry in found:
            if entry.gone:
                self._forget_gone(entry)
        return [entry for entry in found if not entry.gone]

    def entry(self, job: str) -> Entry | None:
        """One job; None when it is not known, or not any more."""
        found = self.entries(self.facts([job]))
        return found[0] if found else None

    def views(self, entries: Sequence[Entry], queue: Any) -> list[Job]:
        """Jobs as people see them."""
        names = [name for entry in entries for name in entry.facts.names]
        answers = iter(
            self._each(
                names, lambda pipe, name: pipe.hgetall(self._keys.job(name)).exists(self._keys.cancel(name))
            )
        )
        waiting = any(entry.parts_in(JobState.queued) for entry in entries)
        places = {name: place for place, name in enumerate(queue.get_job_ids(), 1)} if waiting else {}
        jobs = []
        for entry in entries:
            parts = [
                part_view(
                    entry.facts,
                    record,
                    decoded(next(answers)),
                    place=places.get(name),
                    cancel_asked=bool(next(answers)),
                )
                for name, record in zip(entry.facts.names, entry.records, strict=True)
            ]
            jobs.append(whole(parts, entry.facts.blocks))
        return jobs

    def log(self, facts: Facts) -> JobLog:
        """What all parts of a job wrote."""
        logs = self._each(facts.names, lambda pipe, name: pipe.lrange(self._keys.log(name), -LOG_LINES, -1))
        counts = self._each(facts.names, lambda pipe, name: pipe.hget(self._keys.job(name), "lines"))
        lines = [[line.decode() for line in log] for log in logs]
        total = sum(max(int(count or 0), len(log)) for count, log in zip(counts, lines, strict=True))
        return JobLog(job=facts.job, lines=lines[0] if facts.parts == 1 else merged_log(lines), total=total)

    def forget(self, pipe: Any, entry: Entry) -> None:
        """Put into `pipe` the removal of everything about a job."""
        for name, record in zip(entry.facts.names, entry.records, strict=True):
            if record is not None:
                record.delete(pipeline=pipe)
            pipe.delete(*self._keys.all_of(name))
        pipe.delete(self._keys.facts(entry.facts.job))
        pipe.zrem(self._keys.jobs, entry.facts.job)

    def _forget_gone(self, entry: Entry) -> None:
        """Forget a job of which RQ knows nothing any more, unless it was submitted anew meanwhile."""
        facts = self._keys.facts(entry.facts.job)

        def fill(pipe: Any) -> None:
            same = Facts.read(entry.facts.job, decoded(pipe.hgetall(facts))) == entry.facts
            known = [pipe.hexists(self._keys.record(name), "data") for name in entry.facts.names]
            pipe.multi()
            if same and not any(known):
                self.forget(pipe, entry)

        self._redis.transaction(fill, facts)

    def _unlist(self, jobs: Sequence[str]) -> None:
        """Take jobs without facts off the list, unless they were submitted anew meanwhile."""
        keys = {job: self._keys.facts(job) for job in jobs}

        def fill(pipe: Any) -> None:
            gone = [job for job, key in keys.items() if not pipe.exists(key)]
            pipe.multi()
            if gone:
                pipe.zrem(self._keys.jobs, *gone)

        if keys:
            self._redis.transaction(fill, *keys.values())

    def _record(self, part: str, raw: Any) -> Any:
        """RQ's record; None when there is none, or only what a worker wrote after it was gone."""
        record = rq.job.Job(part, connection=self._redis, serializer=JSONSerializer)
        try:
            record.restore(raw)
        except NoSuchJobError:
            return None
        return record

    def _each(self, names: Iterable[str], ask: Any) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                ask(pipe, name)
            answers: list[Any] = pipe.execute()
        return answers


def _state(record: Any) -> JobState:
    return JobState.failed if record is None else state_of(record.get_status(refresh=False))
