"""Live state in Redis: names of its keys and how to connect. Written by workers, read by `app.queue`.

Nothing here must last: lose Redis and no result is lost. All keys start with the name of the queue, which follows from
the store's identity, so two stores on one Redis never meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

LOG_LINES = 5000
"""Lines of a job's log that are kept."""


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


@dataclass(frozen=True)
class LiveKeys:
    """Names of the keys of one queue."""

    queue: str

    def job(self, job: str) -> str:
        """Hash: progress, problem, device, tries, owner, lines; written by the worker."""
        return f"{self.queue}:job:{job}"

    def cancel(self, job: str) -> str:
        """Time at which a cancel was asked for, seconds since 1970; written by the service."""
        return f"{self.queue}:cancel:{job}"

    def log(self, job: str) -> str:
        """List of the last log lines."""
        return f"{self.queue}:log:{job}"

    def submit(self, job: str) -> str:
        """Lock around replacing an ended job by a new one."""
        return f"{self.queue}:submit:{job}"

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
