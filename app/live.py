"""Live state in Redis: names of its keys, how to connect, and how long it stays. Written by workers, read by `app.queue`.

A job has one part or several. Each part is one job of RQ's with progress, cancel flag and log of its own, so workers know
of parts only; the service shows them as one. What is the same for all parts, the job's facts, lies beside them.

Nothing here must last: lose Redis and no result is lost. All keys start with the name of the queue, which follows from
the store's identity, so two stores on one Redis never meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

LOG_LINES = 5000
"""Lines of a job's log that are kept."""

_ENDED = {b"finished", b"failed", b"stopped", b"canceled", None}
"""RQ's words for what will not change any more; None: the record is gone."""


def queue_name(store_id: str) -> str:
    """The queue of a store."""
    return f"wasserscope-{store_id[:12]}"


def connect(url: str, *, timeout_seconds: float = 2.0) -> Any:
    """A redis.Redis that fails within `timeout_seconds` instead of waiting; it connects at its first command.

    Typed Any because redis-py types every reply as a union over decoded and raw, sync and cluster clients.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 1),  # one retry: a connection that idled may have been closed by the server
        health_check_interval=30,
    )


def decoded(raw: Mapping[bytes, bytes]) -> dict[str, str]:
    """A hash as Redis answers it, as text."""
    return {key.decode(): value.decode() for key, value in raw.items()}


def part_names(job: str, parts: int) -> list[str]:
    """Ids of a job's parts as RQ and workers know them: the job's own when there is one, else numbered from 1.

    No job's id has an underscore, so a part's name never is a job's.
    """
    return [job] if parts == 1 else [f"{job}_{number}" for number in range(1, parts + 1)]


def job_of_part(part: str) -> str:
    """The job to which a part belongs."""
    return part.partition("_")[0]


@dataclass(frozen=True)
class LiveKeys:
    """Names of the keys of one queue."""

    queue: str

    def facts(self, job: str) -> str:
        """Hash of what stays the same about a job: kind, run, subject, title, parts, created_at, blocks, layer, projection; from the
        service."""
        return f"{self.queue}:facts:{job}"

    def job(self, part: str) -> str:
        """Hash about a part: progress, problem, device, tries, owner, lines; written by the worker."""
        return f"{self.queue}:job:{part}"

    def cancel(self, part: str) -> str:
        """Time at which a part's cancel was asked for, seconds since 1970; written by the service."""
        return f"{self.queue}:cancel:{part}"

    def log(self, part: str) -> str:
        """List of a part's last log lines."""
        return f"{self.queue}:log:{part}"

    @staticmethod
    def record(part: str) -> str:
        """RQ's own hash about a part."""
        return f"rq:job:{part}"

    def all_of(self, part: str) -> list[str]:
        """Every key of a part."""
        return [self.record(part), self.job(part), self.cancel(part), self.log(part)]

    @property
    def jobs(self) -> str:
        """Sorted set of all job ids by the time they were made."""
        return f"{self.queue}:jobs"

    @property
    def workers(self) -> str:
        """Set of workers' names."""
        return f"{self.queue}:workers"

    def worker(self, name: str) -> str:
        """Hash about a worker: device, memory_bytes, gflops, version."""
        return f"{self.queue}:worker:{name}"


def settle(connection: Any, keys: LiveKeys, job: str, ttl_seconds: int) -> None:
    """Give a job of which a part has ended its time to live: `ttl_seconds` from the end of its last part, all at once.

    Until then what has ended stays, however long the other parts take.
    """

    def fill(pipe: Any) -> None:
        parts = part_names(job, int(pipe.hget(keys.facts(job), "parts") or 0))
        records = [keys.record(part) for part in parts]
        if records:
            pipe.watch(*records)  # a job that is submitted anew meanwhile must not get an end
        ended = [pipe.hget(record, "status") in _ENDED for record in records]
        pipe.multi()
        if all(ended):
            for key in [keys.facts(job), *(key for part in parts for key in keys.all_of(part))]:
                pipe.expire(key, ttl_seconds)
            return
        for part in itertools.compress(parts, ended):
            for key in keys.all_of(part):
                pipe.persist(key)

    connection.transaction(fill, keys.facts(job))
