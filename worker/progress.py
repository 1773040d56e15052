"""Progress and cancel: what a job tells while it works, and the one question it asks.

`LiveProgress` writes to Redis at most four times a second and looks for a cancel five times a second. Redis may go away
meanwhile: that is logged once, the job goes on, and what it would have told is left out.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from redis.exceptions import RedisError

from app.errors import JobCancelled, WorkerLost
from app.live import LOG_LINES, LiveKeys
from app.schemas.job import Progress as Snapshot

logger = logging.getLogger("wasserscope.job")

WRITE_SECONDS = 0.25
CHECK_SECONDS = 0.2
REST_SECONDS = 3.0
"""How long Redis is left alone after it did not answer."""
PACE_SECONDS = 20.0
"""Span over which the pace (tokens per second) is taken."""


class Progress(Protocol):
    """What a job is given to tell how far it is."""

    def phase(self, text: str) -> None:
        """Say in words what is being done."""

    def advance(
        self, fraction: float, *, block: int | None = None, blocks: int | None = None, tokens: int = 0
    ) -> None:
        """Say that `fraction` of the whole is done and that `tokens` more went through a block."""

    def log(self, line: str) -> None:
        """Write a line to the job's log."""

    def check(self) -> None:
        """Raise JobCancelled when the job was cancelled."""


class LocalProgress:
    """Progress of a job that runs without a queue: lines go to the logger, nothing cancels it."""

    def phase(self, text: str) -> None:
        logger.info(text)

    def advance(
        self, fraction: float, *, block: int | None = None, blocks: int | None = None, tokens: int = 0
    ) -> None:
        logger.debug("%.1f %%", 100 * fraction)

    def log(self, line: str) -> None:
        logger.info(line)

    def check(self) -> None:
        return


class LiveProgress:
    """Progress of a queued job, kept in Redis (see `app.live`)."""

    def __init__(
        self,
        connection: Any,
        keys: LiveKeys,
        job: str,
        *,
        owner: str,
        ttl_seconds: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis, self._keys, self._job = connection, keys, job
        self._owner, self._ttl, self._clock = owner, ttl_seconds, clock
        self._snapshot = Snapshot(phase="starting")
        self._written = self._checked = -1e9
        self._rest_until = -1e9
        self._reported = False
        self._pace: deque[tuple[float, int]] = deque()
        self._first: tuple[float, float] | None = None

    def begin(self, device: str) -> None:
        """Take the job: count the try, name the device, become its owner."""

        def write(pipe: Any) -> None:
            key = self._keys.job(self._job)
            pipe.hincrby(key, "tries", 1)
            pipe.hset(key, mapping={"device": device, "owner": self._owner})
            pipe.hdel(key, "problem")

        self._send(write)
        self._flush()

    def phase(self, text: str) -> None:
        self._snapshot = self._snapshot.model_copy(update={"phase": text})
        self._tell()

    def advance(
        self, fraction: float, *, block: int | None = None, blocks: int | None = None, tokens: int = 0
    ) -> None:
        now = self._clock()
        self._pace.append((now, tokens))
        while self._pace[0][0] < now - PACE_SECONDS:
            self._pace.popleft()
        self._first = self._first or (now, fraction)
        self._snapshot = self._snapshot.model_copy(
            update={
                "fraction": min(max(fraction, 0.0), 1.0),
                "block": block,
                "blocks": blocks,
                "tokens_per_second": self._rate(),
                "eta_seconds": self._eta(now, fraction),
            }
        )
        self._tell()

    def log(self, line: str) -> None:
        logger.info("%s: %s", self._job, line)
        stamped = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}"

        def write(pipe: Any) -> None:
            key = self._keys.log(self._job)
            pipe.rpush(key, *stamped.splitlines())
            pipe.ltrim(key, -LOG_LINES, -1)
            pipe.expire(key, self._ttl)
            pipe.hincrby(self._keys.job(self._job), "lines", len(stamped.splitlines()))

        self._send(write)

    def check(self) -> None:
        now = self._clock()
        if now - self._checked < CHECK_SECONDS:
            return
        self._checked = now
        answer = self._send(
            lambda pipe: pipe.exists(self._keys.cancel(self._job)).hget(self._keys.job(self._job), "owner")
        )
        if answer is None:
            return
        cancelled, owner = answer[:2]
        if cancelled:
            raise JobCancelled("The job was cancelled.", hint="Submit it again to go on where it stopped.")
        if owner is not None and owner.decode() != self._owner:
            raise WorkerLost(
                "Another worker took this job over while this one could not reach Redis.",
                hint="Nothing is to be done: the other worker goes on.",
            )

    def close(self) -> None:
        """Write what the throttle held back."""
        self._flush()

    def _rate(self) -> float | None:
        span = self._pace[-1][0] - self._pace[0][0]
        # The first entry's tokens were worked on before the span began.
        total = sum(tokens for _, tokens in self._pace) - self._pace[0][1]
        return total / span if span > 0 and total > 0 else None

    def _eta(self, now: float, fraction: float) -> float | None:
        if self._first is None or fraction <= self._first[1] or fraction >= 1:
            return None
        return (now - self._first[0]) / (fraction - self._first[1]) * (1 - fraction)

    def _tell(self) -> None:
        if self._clock() - self._written >= WRITE_SECONDS:
            self._flush()

    def _flush(self) -> None:
        self._written = self._clock()
        key = self._keys.job(self._job)
        text = self._snapshot.model_dump_json()
        self._send(lambda pipe: pipe.hset(key, "progress", text).expire(key, self._ttl))

    def _send(self, fill: Callable[[Any], Any]) -> list[Any] | None:
        """Send what `fill` puts into a pipeline; None when Redis does not answer."""
        if self._clock() < self._rest_until:
            return None
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                fill(pipe)
                answer: list[Any] = pipe.execute()
        except (RedisError, OSError) as error:
            self._rest_until = self._clock() + REST_SECONDS
            if not self._reported:
                logger.warning("Redis does not answer (%s); job %s goes on without telling", error, self._job)
            self._reported = True
            return None
        if self._reported:
            logger.info("Redis answers again")
            self._reported = False
        return answer
