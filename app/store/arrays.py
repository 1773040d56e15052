"""Per-neuron arrays as sharded zarr 3: chunks of 64 neurons, one shard an array, so one neuron costs one small read.

An array is encoded in memory and handed out as (name, bytes) pairs: local and remote stores write it the same way, and
its checksums come for free. Chunks carry a zstd checksum and the shard index a CRC, so damage is noticed on reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import FsspecStore, LocalStore, MemoryStore

CHUNK_NEURONS = 64
_CHUNKS_AT_ONCE = {"codec_pipeline.batch_size": 64}
"""One by one, as is zarr's default, encoding takes half as long again."""


def encode(values: np.ndarray[Any, Any]) -> dict[str, bytes]:
    """Files of one array, by their names below the array's folder. `values` has one row per neuron."""
    memory: dict[str, Any] = {}
    tail = values.shape[1:]
    shard = -(-max(values.shape[0], 1) // CHUNK_NEURONS) * CHUNK_NEURONS
    with zarr.config.set(_CHUNKS_AT_ONCE):
        array = zarr.create_array(
            store=MemoryStore(memory),
            shape=values.shape,
            dtype=values.dtype,
            chunks=(CHUNK_NEURONS, *tail),
            shards=(shard, *tail),
            compressors=ZstdCodec(level=3, checksum=True),
            fill_value=0,
            config={"write_empty_chunks": True},
        )
        array[...] = values
    return {name: buffer.to_bytes() for name, buffer in sorted(memory.items())}


def encode_rows(
    shape: tuple[int, int], dtype: str, shard_rows: int, parts: Iterable[np.ndarray[Any, Any]]
) -> Iterator[tuple[str, bytes]]:
    """Files of an array of wide rows, one after the other: each row a chunk of its own, `shard_rows` of them a file.

    parts: (shard_rows, n) each in the rows' order, the last one maybe shorter. Only one of them is held at a time.
    """
    memory: dict[str, Any] = {}
    array = zarr.create_array(
        store=MemoryStore(memory),
        shape=shape,
        dtype=dtype,
        chunks=(1, max(1, shape[1])),
        shards=(shard_rows, max(1, shape[1])),
        compressors=ZstdCodec(level=1, checksum=True),
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    yield from _taken(memory)
    start = 0
    for part in parts:
        array[start : start + len(part)] = part
        start += len(part)
        yield from _taken(memory)


def _taken(memory: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name in sorted(memory):
        yield name, memory.pop(name).to_bytes()


def open_local(folder: Path) -> Any:
    """The array in a local folder, read only."""
    return zarr.open_array(LocalStore(folder, read_only=True), mode="r")


def open_remote(url: str) -> Any:
    """The array under an fsspec URL, read only."""
    return zarr.open_array(FsspecStore.from_url(url, read_only=True), mode="r")
