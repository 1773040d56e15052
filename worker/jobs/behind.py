"""Writing what is done while the next layer is computed.

One write at a time: at most one layer's results wait in memory, and its failure ends the job at the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class WriteBehind:
    """A context in which `put` writes in the background; leaving it waits for the last write."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._last: tuple[Future[None], Callable[[], None]] | None = None

    def put(self, write: Callable[[], None], written: Callable[[], None]) -> None:
        """Start `write` once the one before it is done; `written` is called from here, later, when it succeeded.

        Raises what the write before raised.
        """
        self.settle()
        self._last = (self._pool.submit(write), written)

    def settle(self) -> None:
        """Wait for the last write. Raises what it raised."""
        last, self._last = self._last, None
        if last is not None:
            last[0].result()
            last[1]()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            self._pool.shutdown(wait=True)
