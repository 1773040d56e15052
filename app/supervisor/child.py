"""One supervised process: it has a session of its own, a log file, and dies with its supervisor."""

from __future__ import annotations

import contextlib
import ctypes
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

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """A process that is started again when it dies."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, stop_seconds: float
    ) -> None:
        self.name, self.log = name, log
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
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent if _LIBC is not None else None,
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
                    f"The {self.name} ended {self._quick_deaths} times right after its start. Its last words:\n{self.tail()}",
                    hint=f"The whole log is {self.log}.",
                )
            wait = 0.5 * 2 ** (self._quick_deaths - 1)
            self._again_at = time.monotonic() + wait
            return f"The {self.name} ended with status {self._process.returncode}; it is started again. Log: {self.log}"
        if time.monotonic() >= self._again_at:
            self._again_at = 0.0
            self.start()
        return None

    def tail(self) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(
                self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
            )
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


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
