"""Processes and ports of tests: a process ends with the tests that started it, a port is given to one test only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from app.supervisor import launch

_HELD: list[socket.socket] = []


def start(
    command: Sequence[str | Path],
    output: BinaryIO,
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start `command`, all it prints going to `output`.

    A process of tests may be killed (by a second Ctrl-C, or by pytest-xdist when it does not end in time) before it has
    ended what it started. On Linux the kernel then sends `death_signal`.
    """
    prefix = [sys.executable, "-I", "-S", str(launch.__file__), str(os.getpid()), str(int(death_signal))]
    return subprocess.Popen(
        [*prefix, *map(str, command)],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def free_port() -> int:
    """A port that nobody listens on, nor will until these tests end, but for whom it is given to.

    A socket stays bound to it without listening. Linux lets a server (which sets SO_REUSEADDR, as uvicorn does) bind and
    listen beside that one, and gives the port to nobody who asks for any; elsewhere it is merely free at this moment.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = int(held.getsockname()[1])
    if sys.platform == "linux":
        _HELD.append(held)
    else:
        held.close()
    return port
