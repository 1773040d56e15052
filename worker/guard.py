"""What keeps a job's process within bounds: it dies with its worker, stops when cancelled, and fits its memory limit."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

from redis.exceptions import RedisError

logger = logging.getLogger("wasserscope.guard")

_PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its worker dies (Linux); exit when the worker is dead already.

    Elsewhere the watchdog's look at the parent does the same within half a second.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            logger.warning("prctl(PR_SET_PDEATHSIG) failed: %s", os.strerror(ctypes.get_errno()))
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def memory_limit(mebibytes: int) -> Iterator[None]:
    """Limit this process' address space within; 0 means no limit. Allocations beyond it fail.

    The limit goes before a failure is handled: telling of it needs memory too.
    """
    if not mebibytes:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = mebibytes * 2**20
    resource.setrlimit(
        resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def peak_bytes() -> int:
    """Peak resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Watchdog(threading.Thread):
    """Kills this process when its worker is gone, or when it did not stop within `grace_seconds` of a cancel."""

    def __init__(self, parent: int, cancelled: Callable[[], bool], grace_seconds: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._parent, self._cancelled, self._grace = parent, cancelled, grace_seconds
        self._done = threading.Event()
        self._since: float | None = None

    def run(self) -> None:
        """Look every half second until `stop`."""
        while not self._done.wait(POLL_SECONDS):
            if os.getppid() != self._parent:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.overdue():
                logger.warning("the job did not stop %.1f s after its cancel: killed", self._grace)
                os.kill(os.getpid(), signal.SIGKILL)

    def overdue(self) -> bool:
        """Whether a cancel was first seen more than the grace time ago."""
        with contextlib.suppress(RedisError, OSError):
            if not self._cancelled():
                self._since = None
                return False
            self._since = self._since or time.monotonic()
        return self._since is not None and time.monotonic() - self._since > self._grace

    def stop(self) -> None:
        """End the thread: the job is over."""
        self._done.set()
