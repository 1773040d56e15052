"""One supervised process: it has a session of its own, a log file, and dies with its supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.errors import WorkerLost

QUICK_SECONDS = 20.0
"""A process that lives shorter than this died at once."""
MOST_QUICK_DEATHS = 5
TAIL_LINES = 20
TAIL_BYTES = 32_768

_LAUNCH = Path(__file__).with_name("launch.py")


class Child:
    """A process that is started again when it dies.

    `death_signal` is what the kernel sends it when the supervisor dies without a word; the descriptors `keep_open` stay
    open in it. A session of its own keeps a terminal's Ctrl-C from it: the supervisor ends its children in order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        stop_seconds: float,
        *,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name, self.log = name, log
        self.keep_open: tuple[int, ...] = ()
        self._death_signal = death_signal
        self._command, self._env = list(command), {**os.environ, **env}
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._again_at = 0.0
        self._quick_deaths = 0

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it. Call from the main thread: on Linux a child dies with the thread that made it."""
        self._started = time.monotonic()
        # Not `preexec_fn`: a progress bar has threads, and code between fork and exec could block on one of their locks.
        launch = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(self._death_signal))]
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*launch, *self._command],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.keep_open,
            )

    def tend(self) -> str | None:
        """Start it again if it died, after a wait that doubles; what happened, in words, or None.

        Raises WorkerLost when it keeps dying at once.
        """
        if self._process is None or self._process.poll() is None:
            return None
        if self._again_at == 0.0:
            quick = time.monotonic() - self._started < QUICK_SECONDS
            self._quick_deaths = self._quick_deaths + 1 if quick else 1
            if self._quick_deaths >= MOST_QUICK_DEATHS:
                raise WorkerLost(
                    f"{self._name} ended {self._quick_deaths} times right after its start. Its last words:\n{self.tail()}",
                    hint=f"The whole log is {self.log}.",
                )
            wait = 0.5 * 2 ** (self._quick_deaths - 1)
            self._again_at = time.monotonic() + wait
            return f"{self._name} {self._how()}; it is started again in {wait:g} s. Log: {self.log}"
        if time.monotonic() >= self._again_at:
            self._again_at = 0.0
            self.start()
        return None

    def tail(self) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError), self.log.open("rb") as stream:
            stream.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-TAIL_LINES:])
        return ""

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self.pid is not None:
            self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to all of its process group when its time is up."""
        if self._process is None:
            return
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._stop_seconds)
        self.kill()

    def kill(self) -> None:
        """End its whole process group at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    @property
    def _name(self) -> str:
        return self.name[:1].upper() + self.name[1:]

    def _how(self) -> str:
        code = self._process.returncode if self._process is not None else None
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"
