"""One instance: queue server, web server and workers, from the check of the port to the last process gone."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import platformdirs
import psutil

from app.address import address, check_exposure
from app.client import Client
from app.errors import ApiUnreachable, InvalidRequest, PortTaken, StoreError
from app.settings import Settings
from app.store import Store
from app.supervisor import valkey
from app.supervisor.child import Child
from app.supervisor.lock import SCRATCH_PREFIX, StoreLock

START_SECONDS = 90.0
WEB_STOP_SECONDS = 8.0
WORKER_STOP_SECONDS = 12.0
TICK_SECONDS = 0.2


class Instance:
    """All processes of one instance, as a context manager: leaving it ends every one. `say` gets news in words."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings, self._say = settings, say
        self._children: list[Child] = []
        self._lock: StoreLock | None = None
        self._scratch: Path | None = None

    @property
    def url(self) -> str:
        """Where the dashboard is."""
        return address(self.settings)

    def client(self) -> Client:
        """A client of this instance."""
        token = self.settings.token
        return Client(self.url, token.get_secret_value() if token else None)

    def __enter__(self) -> Instance:
        check_exposure(self.settings)
        check_port(self.settings)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def tick(self) -> None:
        """Look after the processes for a moment. Raises WorkerLost when one keeps dying."""
        for child in self._children:
            news = child.tend()
            if news:
                self._say(news)
        time.sleep(TICK_SECONDS)

    def wait_until_ready(self, *, workers: bool = True) -> None:
        """Wait until the API and Redis answer and, with `workers`, all workers are there. Raises ApiUnreachable."""
        end = time.monotonic() + START_SECONDS
        with self.client() as client:
            while time.monotonic() < end:
                self.tick()
                try:
                    health = client.health()
                except ApiUnreachable:
                    continue
                if health.redis.ok and (not workers or len(health.workers) >= self.settings.workers):
                    return
        logs = ", ".join(str(child.log) for child in self._children)
        raise ApiUnreachable(
            f"The service is not ready after {START_SECONDS:.0f} s.", hint=f"See the logs: {logs}."
        )

    def stop(self) -> None:
        """End every process: workers, then the web server, then the queue server, which writes its file first.

        A second Ctrl-C, or SIGTERM, meanwhile ends all of them at once.
        """
        family = self._descendants()
        try:
            for child in reversed(self._children):
                if child.name != "queue server":
                    child.ask_to_stop()
            for child in reversed(self._children):
                child.stop()
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # what is left takes no time
            for child in self._children:
                child.kill()
        for process in family:  # a job's process has a group of its own
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._children.clear()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _start(self) -> None:
        store = Store(self.settings.store)
        state = store.check()
        if not state.ok:
            raise StoreError(state.detail, hint="Choose another place with --store or WASSERSCOPE_STORE.")
        self._scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
        home = store.files.local or _own_folder(self.settings.store)
        self._lock = StoreLock(home / ".lock")
        self._lock.take(self.url, self._scratch)
        logs = _folder(home / "logs")
        env = self.settings.to_env()
        if self.settings.redis_url is None:
            server, url = valkey.server(self._scratch, _folder(home / "valkey"), _log(logs, "valkey"))
            server.keep_open = (self._lock.fd,)
            self._add(server)
            valkey.wait_until_ready(server, url)
            env["WASSERSCOPE_REDIS_URL"] = url
        run = [sys.executable, "-P", "-m"]  # -P: a folder `app` where the user happens to be is not ours
        self._add(Child("web server", [*run, "frontend.main"], env, _log(logs, "web"), WEB_STOP_SECONDS))
        for number in range(1, self.settings.workers + 1):
            log = _log(logs, f"worker-{number}")
            self._add(Child(f"worker {number}", [*run, "worker.main"], env, log, WORKER_STOP_SECONDS))

    def _descendants(self) -> list[psutil.Process]:
        """All processes below the children."""
        found: list[psutil.Process] = []
        for child in self._children:
            with contextlib.suppress(psutil.Error):
                found += psutil.Process(child.pid).children(recursive=True) if child.pid else []
        return found

    def _add(self, child: Child) -> None:
        self._children.append(child)
        child.start()


def check_port(settings: Settings) -> None:
    """Raise PortTaken when another program listens there."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(
                    f"Another program listens on {settings.host}:{settings.port}.",
                    hint=f"Choose another port, for example --port {settings.port + 1} or WASSERSCOPE_PORT={settings.port + 1}.",
                ) from error
            raise InvalidRequest(
                f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}.",
                hint="Choose another --host or --port.",
            ) from error


def _own_folder(store: str) -> Path:
    """Where queue and logs of a remote store are kept on this machine."""
    digest = hashlib.sha256(store.encode()).hexdigest()[:12]
    return _folder(Path(platformdirs.user_data_dir("wasserscope")) / f"remote-{digest}")


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _log(folder: Path, name: str) -> Path:
    """The log of this start; the one before is kept beside it."""
    path = folder / f"{name}.log"
    if path.exists():
        path.replace(folder / f"{name}.1.log")
    return path
