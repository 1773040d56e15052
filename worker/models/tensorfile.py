"""Safetensors written and read a tensor at a time; the library's own writer wants all of a file's tensors in memory.

The format: eight bytes (length of the header, little-endian), the header (JSON), the data; see
huggingface.co/docs/safetensors. Larger types lie first, as the library has it, so that every tensor is aligned.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from app.errors import CorruptFile

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Types of tensors that are written, by safetensors' names."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}
Spec = tuple[str, tuple[int, ...]]
"""Type (safetensors' name) and shape of a tensor."""


def spec(tensor: Tensor) -> Spec:
    """What the header says of a tensor."""
    return NAMES[tensor.dtype], tuple(tensor.shape)


@contextlib.contextmanager
def durable(path: Path) -> Iterator[IO[bytes]]:
    """A new file whose bytes are on the disk when the context is left."""
    with path.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


class TensorWriter:
    """A safetensors file on a stream that can seek: header first, then every tensor of it, in any order."""

    def __init__(
        self, stream: IO[bytes], specs: Mapping[str, Spec], metadata: Mapping[str, str] | None = None
    ) -> None:
        self._stream, self._missing = stream, dict(specs)
        header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
        end = 0
        for name, (dtype, shape) in sorted(
            specs.items(), key=lambda item: (-DTYPES[item[1][0]].itemsize, item[0])
        ):
            start, end = end, end + DTYPES[dtype].itemsize * prod(shape)
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        stream.write(len(text).to_bytes(8, "little") + text)
        self._header, self._start, self._end = header, 8 + len(text), 8 + len(text) + end
        stream.truncate(self._end)

    def write(self, name: str, tensor: Tensor) -> None:
        """Write a tensor, which has to be as its spec says."""
        if self._missing.get(name) != spec(tensor):
            raise ValueError(f"'{name}' is a {spec(tensor)}, which the header does not say, or came twice")
        del self._missing[name]
        if tensor.numel():
            self._stream.seek(self._start + self._header[name]["data_offsets"][0])
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            self._stream.write(flat.view(torch.uint8).numpy().data)

    def close(self) -> None:
        """Leave the stream at the file's end. Every tensor of the header has to be there."""
        if self._missing:
            raise ValueError(f"tensors of the header that were not written: {sorted(self._missing)}")
        self._stream.seek(self._end)


class TensorReader:
    """The tensors of a safetensors blob, each copied when asked for. Raises CorruptFile for one that is damaged."""

    def __init__(self, blob: bytes | bytearray | memoryview, title: str = "the tensors") -> None:
        view = memoryview(blob)
        length = int.from_bytes(view[:8], "little")
        try:
            header = json.loads(bytes(view[8 : 8 + length]))
            self.metadata: dict[str, str] = header.pop("__metadata__", {})
            self._entries = {
                name: (DTYPES[entry["dtype"]], tuple(entry["shape"]), *entry["data_offsets"])
                for name, entry in header.items()
            }
            self._data = view[8 + length :]
            whole = all(
                0 <= start <= end <= len(self._data) and end - start == dtype.itemsize * prod(shape)
                for dtype, shape, start, end in self._entries.values()
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(title) from error
        if not whole:
            raise _damaged(title)

    def names(self) -> Iterable[str]:
        """Names of all tensors."""
        return self._entries.keys()

    def read(self, name: str) -> Tensor:
        """A tensor, in memory of its own."""
        dtype, shape, start, end = self._entries[name]
        if start == end:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(self._data[start:end]), dtype=dtype).reshape(shape)


def _damaged(title: str) -> CorruptFile:
    return CorruptFile(f"{title[0].upper()}{title[1:]} cannot be read: no complete safetensors data.")
