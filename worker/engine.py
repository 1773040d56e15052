"""RQ's worker, made to notice deaths within half a minute and to survive Redis going away.

What differs from `rq.SpawnWorker`, and why:
- The job's process is `python -m worker.horse`; RQ would put the Redis URL, password and all, on its command line.
- Heartbeats every 5 s that count for 20 s, instead of 60 s and minutes: a dead worker's job is soon taken up again.
- A job's own failure is final, a lost process is retried: RQ's retries do not tell them apart.
- A cancelled job ends as stopped, not as failed, and only once its process is gone: then the device is free.
- SIGTERM kills the job's process and puts the job back in front of the queue: it goes on where it stopped.
- Redis going away does not end the job that is running.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.exceptions import AbandonedJobError, StopRequested
from rq.timeouts import JobTimeoutException
from rq.utils import now
from rq.worker import SpawnWorker
from rq.worker.base import WorkerStatus

from app.errors import JobCancelled, WasserscopeError, WorkerLost
from app.live import LiveKeys, job_of_part, settle
from app.schemas.problem import Problem
from app.settings import Settings

MONITOR_SECONDS = 5
"""How often a busy worker sends its heartbeat."""
BEAT_TTL_SECONDS = 20
"""How long a heartbeat counts; then the worker is taken for dead."""
MAINTENANCE_SECONDS = 10
"""How often an idle worker looks for jobs of dead ones."""
PATIENCE_SECONDS = 60
"""How long a finished job waits for Redis to come back, to say so."""

JOB_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",  # one text cannot be shared among threads anyway
    "MALLOC_ARENA_MAX": "2",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""Defaults of a job's process: without them its libraries reserve gigabytes of addresses that they never use, which
`memory_limit_mebibytes` would count."""

CANCELLED_STATUS = 75
"""Exit status of a job's process that stopped because it was cancelled."""

_GONE = (RedisConnectionError, RedisTimeoutError)


class Engine(SpawnWorker):  # type: ignore[misc]
    """One worker of one queue on one device. `about` is what it tells of itself."""

    max_connection_wait_time = 2.0
    settings: Settings
    keys: LiveKeys
    about: dict[str, str]

    def equip(self, settings: Settings, keys: LiveKeys, about: dict[str, str]) -> Engine:
        """Give it what RQ's constructor has no place for."""
        self.settings, self.keys, self.about = settings, keys, about
        self.job_monitoring_interval = MONITOR_SECONDS
        self.push_exc_handler(self.record_failure)
        self._unsettled: set[str] = set()
        return self

    @property
    def stopping(self) -> bool:
        """Whether it was told to end."""
        return bool(self._stop_requested)

    @property
    def dequeue_timeout(self) -> int:
        """Seconds to wait for a job before looking after dead workers' jobs."""
        return MAINTENANCE_SECONDS

    # Heartbeats

    def get_heartbeat_ttl(self, job: Any, working_time: float = 0.0) -> int:
        """How long a beat of a running job counts."""
        return BEAT_TTL_SECONDS

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Say that the worker lives, and on which device."""
        super().heartbeat(BEAT_TTL_SECONDS, pipeline)
        if not self.is_horse:
            connection = self.connection if pipeline is None else pipeline
            connection.hset(self.keys.worker(self.name), mapping=self.about)
            connection.expire(self.keys.worker(self.name), BEAT_TTL_SECONDS)
            connection.sadd(self.keys.workers, self.name)

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        """The same while a job runs; Redis may be away for a while."""
        try:
            super().maintain_heartbeats(job, execution)
        except _GONE as error:
            self.log.warning("Redis does not answer (%s); the job goes on", error)

    # The job's process

    def _dump_worker_config(self) -> bytes:
        return b""  # RQ pickles the worker for its own kind of process; ours reads the environment

    def fork_work_horse(self, job: Any, queue: Any) -> None:
        """Start `python -m worker.horse` in a process group of its own."""
        env = {
            **JOB_ENVIRONMENT,
            **os.environ,
            **self.settings.to_env(),
            "RQ_WORKER_ID": self.name,
            "RQ_JOB_ID": job.id,
            "RQ_EXECUTION_ID": self.execution.id,
            "WASSERSCOPE_WORKER_PID": str(os.getpid()),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self._horse_pid = os.posix_spawn(
            sys.executable, [sys.executable, "-m", "worker.horse"], env, setpgroup=0
        )
        if self.stopping:  # the signal came between taking the job and here
            self.kill_horse()

    def execute_job(self, job: Any, queue: Any) -> None:
        """Have one job done, one way or another, and see to how long its records stay."""
        super().execute_job(job, queue)
        self.settle(job.id)

    def clean_registries(self) -> None:
        """RQ's look for jobs of dead workers; the records of those that are given up get their time to live."""
        super().clean_registries()
        for part in list(self._unsettled):
            self.settle(part)

    def request_stop(self, signum: int, frame: Any) -> None:
        """SIGTERM or SIGINT: end now. A running job is killed and put back; the store keeps its finished blocks."""
        self._stop_requested = True
        self._shutdown_requested_date = now()
        if self.horse_pid:
            self.kill_horse()
        elif self.get_state() != WorkerStatus.BUSY:
            raise StopRequested

    def request_force_stop(self, signum: int, frame: Any) -> None:
        """A second signal says nothing new."""
        self.request_stop(signum, frame)

    def handle_work_horse_killed(self, job: Any, retpid: int, ret_val: int, rusage: Any) -> None:
        """The job's process died without a word. What comes of the job is decided here."""
        stopped = ret_val is not None and os.waitstatus_to_exitcode(ret_val) == CANCELLED_STATUS
        if stopped or self.connection.exists(self.keys.cancel(job.id)):
            self._stopped_job_id = job.id  # makes RQ mark it stopped
            how = "its process has ended" if stopped else "its process had to be killed"
            self.tell(job.id, f"cancelled: {how}; {self.about['device']} is free")
        elif self.stopping:
            job.retries_left = (job.retries_left or 0) + 1  # this one does not count
            job.enqueue_at_front_on_retry = True
            self.tell(job.id, "the worker was stopped; the job goes on when a worker is there")
        else:
            self._lost(job, f"The job's process {_how(ret_val)}.")

    def handle_exception(self, job: Any, *exc_info: Any) -> None:
        """In the job's process: the job raised. One that was cancelled ends its process here: the job counts as cancelled
        when the worker has seen that, and no sooner.
        """
        if isinstance(exc_info[1], JobCancelled):
            self.tell(job.id, "stopping: cancel was asked for")
            logging.shutdown()
            os._exit(CANCELLED_STATUS)
        super().handle_exception(job, *exc_info)

    def handle_job_failure(self, job: Any, *args: Any, **kwargs: Any) -> None:
        """Retry lost processes only."""
        if self.is_horse:
            job.retries_left = 0
        else:
            self._unsettled.add(job.id)
        super().handle_job_failure(job, *args, **kwargs)

    def _finalize_success(self, job: Any, queue: Any, execution: Any, return_value: Any) -> None:
        # The results are in the store by now. A Redis that is just being restarted must not turn them into a failure.
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                super()._finalize_success(job, queue, execution, return_value)
            except _GONE:
                if time.monotonic() > end:
                    raise
                time.sleep(1)
            else:
                return

    def perform_job(self, job: Any, queue: Any, execution: Any) -> bool:
        """In the job's process: RQ ends it without a word when the job's end cannot be recorded."""
        try:
            return bool(super().perform_job(job, queue, execution))
        except BaseException:
            self.log.exception("the end of job %s cannot be recorded", job.id)
            raise

    # What is kept of a failure

    def record_failure(self, job: Any, kind: type[BaseException], error: BaseException, trace: Any) -> bool:
        """RQ's exception handler: keep the problem for people, the traceback in the log."""
        if kind is AbandonedJobError:
            self._unsettled.add(job.id)
            self._lost(job, "The worker that had the job died.")
            return True
        if not isinstance(error, WasserscopeError):
            self.tell(job.id, "".join(traceback.format_exception(kind, error, trace)))
        self.fail(job.id, _known(error, self.settings))
        return True

    def _lost(self, job: Any, detail: str) -> None:
        if job.retries_left:
            self.tell(job.id, f"{detail} It is tried again; {job.retries_left} tries are left.")
            return
        hint = (
            "If it was killed by the system for lack of memory, lower WASSERSCOPE_BATCH_TOKENS, "
            "WASSERSCOPE_CHUNK_MEBIBYTES or the run's tokens. Then submit it again: it goes on where it stopped."
        )
        self.fail(job.id, WorkerLost(f"{detail} It was tried {self.settings.max_tries} times.", hint=hint))

    def fail(self, job_id: str, error: WasserscopeError) -> None:
        """Keep the problem with the job's live state."""
        self.tell(job_id, f"failed: {error.detail}" + (f" {error.hint}" if error.hint else ""))
        self._write(
            lambda pipe: pipe.hset(self.keys.job(job_id), "problem", Problem.of(error).model_dump_json())
        )

    def tell(self, job_id: str, line: str) -> None:
        """A line in the job's log."""
        lines = line.splitlines()
        stamp = f"{now():%Y-%m-%d %H:%M:%S} "

        def fill(pipe: Any) -> None:
            pipe.rpush(self.keys.log(job_id), *[stamp + text for text in lines])
            pipe.hincrby(self.keys.job(job_id), "lines", len(lines))
            pipe.expire(self.keys.log(job_id), self.settings.job_ttl_seconds)
            pipe.expire(self.keys.job(job_id), self.settings.job_ttl_seconds)

        self._write(fill)

    def settle(self, part: str) -> None:
        """Give the job of an ended part its time to live."""
        self._unsettled.discard(part)
        try:
            settle(self.connection, self.keys, job_of_part(part), self.settings.job_ttl_seconds)
        except RedisError as error:
            self.log.warning("Redis does not answer (%s); the records of job %s stay", error, part)

    def _write(self, fill: Any) -> None:
        try:
            with self.connection.pipeline() as pipe:
                fill(pipe)
                pipe.execute()
        except RedisError as error:
            self.log.warning("Redis does not answer (%s); live state is not written", error)


def _known(error: BaseException, settings: Settings) -> WasserscopeError:
    """`error` as one that people can be told about."""
    if isinstance(error, WasserscopeError):
        return error
    if isinstance(error, JobTimeoutException):
        return WasserscopeError(
            f"The job ran longer than {settings.job_timeout_seconds} s.",
            hint="Raise WASSERSCOPE_JOB_TIMEOUT_SECONDS and submit it again: it goes on where it stopped.",
        )
    return WasserscopeError(
        f"An error that was not foreseen: {type(error).__name__}.",
        hint="The job's log has the details. Submitting it again goes on where it stopped.",
    )


def _how(ret_val: int | None) -> str:
    if ret_val is not None and os.WIFSIGNALED(ret_val):
        return f"was killed by signal {os.WTERMSIG(ret_val)}"
    return (
        f"ended with exit status {os.waitstatus_to_exitcode(ret_val) if ret_val is not None else 'unknown'}"
    )
