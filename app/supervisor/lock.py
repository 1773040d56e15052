"""The right of one instance to a local store."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from pathlib import Path

import psutil

from app.errors import Conflict, StoreError

LEAVING_SECONDS = 10.0
"""How long to wait for the queue server of an instance that was killed: it writes its file before it ends."""
SCRATCH_PREFIX = "wasserscope-"


class StoreLock:
    """A lock on an open file, so that it goes when its holders go, however they end.

    The queue server holds it too: two of them never write to one file, even when a supervisor was killed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fd = -1

    def take(self, url: str, scratch: Path) -> None:
        """Hold the store until `release`; others are told of `url`. Raises Conflict when another instance holds it."""
        try:
            self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._wait()
            self._clean()
            about = {"pid": os.getpid(), "url": url, "scratch": str(scratch)}
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, json.dumps(about).encode(), 0)
        except OSError as error:
            raise StoreError(
                f"The store {self._path.parent} cannot be locked: {error.strerror}.",
                hint="Choose another place with --store or WASSERSCOPE_STORE.",
            ) from error

    def release(self) -> None:
        """Let go of the store."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _wait(self) -> None:
        end = time.monotonic() + LEAVING_SECONDS
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            left = self._read()
            owner = left.get("pid")
            if (isinstance(owner, int) and psutil.pid_exists(owner)) or time.monotonic() > end:
                raise Conflict(
                    f"Another Wasserscope (process {owner or 'unknown'}, {left.get('url', 'address unknown')}) "
                    f"uses the store {self._path.parent}.",
                    hint="Use that one, end it, or give this one another store: --store or WASSERSCOPE_STORE.",
                )
            time.sleep(0.1)  # flock knows no time limit

    def _read(self) -> dict[str, object]:
        with contextlib.suppress(ValueError):
            found = json.loads(os.pread(self.fd, 4096, 0))
            if isinstance(found, dict):
                return found
        return {}

    def _clean(self) -> None:
        """Remove the folder of the socket that an instance which was killed left behind."""
        scratch = Path(str(self._read().get("scratch", "")))
        if scratch.name.startswith(SCRATCH_PREFIX):
            shutil.rmtree(scratch, ignore_errors=True)
