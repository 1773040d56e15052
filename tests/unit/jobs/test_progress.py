"""Progress: throttled, with a pace and a time left, deaf when Redis is away, obedient to cancel."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.errors import JobCancelled, WorkerLost
from app.live import LiveKeys
from app.schemas.job import Progress as Snapshot
from worker.progress import LiveProgress, LocalProgress

KEYS = LiveKeys("q")


class Redis:
    """The few commands that progress uses, in memory; counts its transactions, and may be away."""

    def __init__(self) -> None:
        self.hash: dict[str, str] = {}
        self.lines: list[str] = []
        self.cancelled = False
        self.away = False
        self.sent = 0

    def pipeline(self, transaction: bool) -> Pipe:
        return Pipe(self)


class Pipe:
    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.answers: list[Any] = []

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *args: object) -> None:
        return

    def execute(self) -> list[Any]:
        self.redis.sent += 1
        if self.redis.away:
            raise RedisConnectionError("gone")
        return self.answers

    def exists(self, key: str) -> Pipe:
        self.answers.append(int(self.redis.cancelled))
        return self

    def hget(self, key: str, name: str) -> Pipe:
        value = self.redis.hash.get(name)
        self.answers.append(None if value is None else value.encode())
        return self

    def hset(
        self, key: str, name: str | None = None, value: str = "", mapping: dict[str, str] | None = None
    ) -> Pipe:
        if not self.redis.away:
            self.redis.hash.update(mapping or {str(name): value})
        return self

    def hdel(self, key: str, name: str) -> Pipe:
        self.redis.hash.pop(name, None)
        return self

    def hincrby(self, key: str, name: str, by: int) -> Pipe:
        self.redis.hash[name] = str(int(self.redis.hash.get(name, "0")) + by)
        return self

    def rpush(self, key: str, *lines: str) -> Pipe:
        self.redis.lines += lines
        return self

    def ltrim(self, key: str, start: int, stop: int) -> Pipe:
        self.redis.lines = self.redis.lines[start:]
        return self

    def expire(self, key: str, seconds: int) -> Pipe:
        return self


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def redis() -> Redis:
    return Redis()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(redis: Redis, clock: Clock) -> LiveProgress:
    made = LiveProgress(redis, KEYS, "explore-x", owner="me", ttl_seconds=60, clock=clock)
    made.begin("cpu")
    return made


def shown(redis: Redis) -> Snapshot:
    return Snapshot.model_validate_json(redis.hash["progress"])


def test_at_most_four_writes_a_second(progress: LiveProgress, redis: Redis, clock: Clock) -> None:
    before = redis.sent
    for _ in range(1000):
        clock.now += 0.01
        progress.advance(0.5, tokens=1)
    assert redis.sent - before <= 41
    progress.phase("writing the index")
    progress.close()
    assert shown(redis).phase == "writing the index"


def test_pace_and_time_left(progress: LiveProgress, redis: Redis, clock: Clock) -> None:
    for step in range(31):
        clock.now += 1
        progress.advance(0.2 + step * 0.01, block=2, blocks=8, tokens=500)
    seen = shown(redis)
    assert seen.tokens_per_second == pytest.approx(500)
    assert seen.fraction == pytest.approx(0.5)
    assert seen.eta_seconds == pytest.approx(50)
    assert (seen.block, seen.blocks) == (2, 8)


def test_cancel(progress: LiveProgress, redis: Redis, clock: Clock) -> None:
    progress.check()
    redis.cancelled = True
    progress.check()  # looked less than 0.2 s ago
    clock.now += 0.3
    with pytest.raises(JobCancelled):
        progress.check()


def test_a_job_that_was_taken_over_stops(progress: LiveProgress, redis: Redis, clock: Clock) -> None:
    redis.hash["owner"] = "another"
    clock.now += 1
    with pytest.raises(WorkerLost, match="took this job over"):
        progress.check()


def test_redis_away_is_said_once_and_survived(
    progress: LiveProgress, redis: Redis, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    redis.away = True
    before = redis.sent
    for _ in range(600):
        clock.now += 0.1
        progress.advance(0.5, tokens=1)
        progress.check()
    assert redis.sent - before <= 21  # once in three seconds
    assert sum("does not answer" in r.message for r in caplog.records) == 1
    redis.away = False
    clock.now += 5
    progress.advance(0.75)
    assert shown(redis).fraction == 0.75


def test_log_lines_are_counted_and_capped(progress: LiveProgress, redis: Redis) -> None:
    for i in range(3000):
        progress.log(f"line {i}\nand more")
    assert redis.hash["lines"] == "6000"
    assert len(redis.lines) == 5000
    assert redis.lines[-1] == "and more"


def test_begin_counts_tries_and_clears_the_problem(progress: LiveProgress, redis: Redis) -> None:
    redis.hash["problem"] = "{}"
    progress.begin("cuda:0")
    assert (redis.hash["tries"], redis.hash["device"], redis.hash["owner"]) == ("2", "cuda:0", "me")
    assert "problem" not in redis.hash


def test_without_a_queue_nothing_is_needed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    local = LocalProgress()
    local.phase("loading")
    local.advance(0.5)
    local.log("a line")
    local.check()
    assert [r.message for r in caplog.records] == ["loading", "a line"]
