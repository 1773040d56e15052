"""The store as everyone sees it: `Store(url)`."""

from __future__ import annotations

from app.store.reader import Reader


class Store(Reader):
    """Runs and their artifacts below one local folder or fsspec URL.

    Three layers, one a file: `records` (what runs there are), `writer` (what jobs write), `reader` (what pages show).
    Safe to use from many threads. Raises StoreError, StoreFull, CorruptStore, NotFound and Conflict of `app.errors`.
    """
