"""Writing what is done while the next layer is computed.

One write at a time, in order. At most `WAITING` layers' results wait in memory: those of a block. A failure ends the job
at the next layer that is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

WAITING = 3


class WriteBehind:
    """A context in which `put` writes in the background; leaving it waits for the last write."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._pending: deque[tuple[Future[None], Callable[[], None]]] = deque()

    def put(self, write: Callable[[], None], written: Callable[[], None]) -> None:
        """Start `write` after those before it; `written` is called from here, later, when it succeeded.

        Raises what an earlier write raised.
        """
        while self._pending and (len(self._pending) >= WAITING or self._pending[0][0].done()):
            self._settle_first()
        self._pending.append((self._pool.submit(write), written))

    def _settle_first(self) -> None:
        future, written = self._pending.popleft()
        future.result()
        written()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._pending:
                self._settle_first()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=kind is None)
