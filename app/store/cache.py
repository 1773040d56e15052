"""A small thread-safe cache that forgets what was used longest ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """At most `size` values; a key is a tuple, and `forget` drops all whose first part is the same."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[tuple[Hashable, ...], Value] = OrderedDict()

    def get(self, key: tuple[Hashable, ...], make: Callable[[], Value]) -> Value:
        """The value under `key`, made when missing. Two threads may make it at once; one of both is kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            value = self._values.setdefault(key, value)
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value

    def forget(self, first: Hashable) -> None:
        """Drop everything whose key starts with `first`."""
        with self._lock:
            for key in [key for key in self._values if key[0] == first]:
                del self._values[key]
