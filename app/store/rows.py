"""Single rows of per-neuron arrays, each array opened once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import CorruptStore, NotFound
from app.store import arrays
from app.store.cache import Cache
from app.store.files import Files
from app.store.manifest import FileStamp

DAMAGED = "Submit the run again after deleting it, or restore the file from a backup."


class ArrayRows:
    """Reads rows of zarr arrays that a manifest lists."""

    def __init__(self, files: Files, size: int = 512) -> None:
        self.files = files
        self._arrays: Cache[Any] = Cache(size)

    def row(
        self, owner: tuple[Hashable, ...], folder: str, name: str, stamps: Mapping[str, FileStamp], index: int
    ) -> np.ndarray[Any, Any]:
        """Row `index` of array `name` below `folder`. `owner`: what the cache files it under, its run first.

        Raises CorruptStore when files differ in size from `stamps` (by name below `folder`) or cannot be decoded.
        """
        key = f"{folder}/{name}"

        def load() -> Any:
            self._check_sizes(folder, name, stamps)
            path = self.files.path(key)
            if self.files.local is not None:
                return arrays.open_local(Path(path))
            return arrays.open_remote(self.files.fs.unstrip_protocol(path))

        opened = guarded(key, lambda: self._arrays.get((*owner, name), load))
        return np.asarray(guarded(key, lambda: opened[index]))

    def forget(self, run: str) -> None:
        """Drop what is open of a run."""
        self._arrays.forget(run)

    def _check_sizes(self, folder: str, array: str, stamps: Mapping[str, FileStamp]) -> None:
        for name, stamp in stamps.items():
            if name.startswith(f"{array}/"):
                size = self.files.size(f"{folder}/{name}")
                if size != stamp.size:
                    raise CorruptStore(
                        f"'{folder}/{name}' has {size} bytes instead of {stamp.size}.", hint=DAMAGED
                    )


def guarded(key: str, read: Callable[[], Any]) -> Any:
    """`read()`, with whatever a damaged file makes its library raise turned into CorruptStore."""
    try:
        return read()
    except (CorruptStore, NotFound):
        raise
    except Exception as error:  # zarr, zstd, crc32c and Arrow each raise their own classes
        raise CorruptStore(f"'{key}' cannot be read: {error}", hint=DAMAGED) from error
