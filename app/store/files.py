"""Bytes under keys on a local folder or an fsspec URL.

Local files are written aside, synced and renamed, so a reader sees the old bytes or the new ones and never half a file.
Object stores have no rename but write a whole object at once. Every failure of the medium becomes a `StoreError` that
names the key and says what to do.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from app.errors import StoreError, StoreFull, WasserscopeError

Buffer = bytes | bytearray | memoryview

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Stamp:
    """Size in bytes and SHA-256 of a file, as its manifest keeps them."""

    size: int
    sha256: str


class Files:
    """Keys below one root. `local` is the root's folder, None when it is remote."""

    def __init__(self, url: str) -> None:
        self.url = url
        with self._translated("open", ""):
            filesystem, root = fsspec.core.url_to_fs(url)
        self.fs: Any = filesystem
        self.root: str = str(root).rstrip("/")
        protocols = filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,)
        self.local: Path | None = Path(self.root) if "file" in protocols else None

    def path(self, key: str) -> str:
        """The filesystem's own path of `key`."""
        return f"{self.root}/{key}" if key else self.root

    def read(self, key: str) -> bytes | None:
        """The bytes under `key`; None when there are none."""
        with self._translated("read", key):
            try:
                if self.local is not None:
                    return Path(self.path(key)).read_bytes()
                return bytes(self.fs.cat_file(self.path(key)))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> Stamp:
        """Write `data`, given whole or in parts, under `key`, replacing what was there."""
        parts = [data] if isinstance(data, (bytes, bytearray, memoryview)) else data
        with self._translated("write", key):
            if self.local is not None:
                return self._write_local(Path(self.path(key)), parts)
            digest, size = hashlib.sha256(), 0
            with self.fs.open(self.path(key), "wb") as file:
                for part in parts:
                    digest.update(part)
                    size += memoryview(part).nbytes
                    file.write(part)
            return Stamp(size, digest.hexdigest())

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` unless `key` exists; whether it was written. Of two that try at once, one wins."""
        if self.local is None:
            if self.exists(key):
                return False
            self.write(key, data)
            return True
        with self._translated("write", key):
            target = Path(self.path(key))
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
            try:
                _dump(aside, [data])
                os.link(aside, target)
            except FileExistsError:
                return False
            finally:
                aside.unlink(missing_ok=True)
            return True

    def size(self, key: str) -> int | None:
        """Size in bytes; None when there is no such file."""
        with self._translated("read", key):
            try:
                return int(self.fs.info(self.path(key))["size"])
            except (FileNotFoundError, NotADirectoryError):
                return None

    def exists(self, key: str) -> bool:
        """Whether there is a file under `key`."""
        return self.size(key) is not None

    def names(self, key: str) -> list[str]:
        """Sorted names of what lies directly in the folder `key`; none when it does not exist."""
        with self._translated("list", key):
            try:
                if self.local is not None:
                    return sorted(n for n in os.listdir(self.path(key)) if not n.startswith("."))
                self.fs.invalidate_cache()
                return sorted(
                    str(p).rstrip("/").rsplit("/", 1)[-1] for p in self.fs.ls(self.path(key), detail=False)
                )
            except (FileNotFoundError, NotADirectoryError):
                return []

    def delete(self, key: str) -> None:
        """Remove a file or a whole folder; nothing happens when it does not exist."""
        with self._translated("delete", key), contextlib.suppress(FileNotFoundError):
            self.fs.rm(self.path(key), recursive=True)

    def stamp(self, key: str) -> Stamp | None:
        """Size and checksum as they are now; None when there is no such file."""
        digest, size = hashlib.sha256(), 0
        with self._translated("read", key):
            try:
                with self.fs.open(self.path(key), "rb") as file:
                    while piece := file.read(1 << 20):
                        digest.update(piece)
                        size += len(piece)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Stamp(size, digest.hexdigest())

    def _write_local(self, target: Path, parts: Iterable[Buffer]) -> Stamp:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            stamp = _dump(aside, parts)
            os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)
        return stamp

    @contextlib.contextmanager
    def _translated(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except WasserscopeError:
            raise
        except OSError as error:
            raise self._store_error(verb, key, error) from error
        except Exception as error:  # remote filesystems raise their client library's own classes
            raise StoreError(
                f"The store at {self.url} failed to {verb} '{key}': {error}",
                hint="Check the store's address, credentials and network.",
            ) from error

    def _store_error(self, verb: str, key: str, error: OSError) -> StoreError:
        where = f"'{key}' in the store at {self.url}" if key else f"the store at {self.url}"
        if error.errno in _FULL:
            return StoreFull(
                f"No space is left to {verb} {where}.",
                hint="Free space there or set WASSERSCOPE_STORE to another place, then submit again: "
                "finished blocks are kept.",
            )
        if error.errno in _DENIED or isinstance(error, PermissionError):
            return StoreError(
                f"No permission to {verb} {where}: {error.strerror or error}.",
                hint="Give the user that runs Wasserscope write access, or set WASSERSCOPE_STORE to another place.",
            )
        return StoreError(
            f"Cannot {verb} {where}: {error}.", hint="Check that the place exists and is reachable."
        )


def _dump(path: Path, parts: Iterable[Buffer]) -> Stamp:
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as file:
        for part in parts:
            digest.update(part)
            size += memoryview(part).nbytes
            file.write(part)
        file.flush()
        os.fsync(file.fileno())  # the manifest that comes later must never outlive its data
    return Stamp(size, digest.hexdigest())
