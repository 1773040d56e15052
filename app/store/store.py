"""The store as everyone sees it: `Store(url)`."""

from __future__ import annotations

from app.store.answers import Answers


class Store(Answers):
    """Runs and their artifacts below one local folder or fsspec URL.

    Four layers, one a file: `records` (what runs there are), `writer` (what jobs write), `reader` (what pages show),
    `answers` (what is asked of stored outputs).
    Safe to use from many threads. Raises StoreError, StoreFull, CorruptStore, NotFound and Conflict of `app.errors`.
    """
