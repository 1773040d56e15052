"""Headers of GGUF files: metadata, and names and shapes of tensors.

The library's own reader makes a numpy view of every string of the vocabulary, which takes seconds; this one walks over
them. Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md. Versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from app.errors import CorruptFile, ModelError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_KEPT_ARRAY = 1024
_MAX_COUNT = 1 << 24


@dataclass(frozen=True)
class GgufTensor:
    """A tensor in a GGUF file; `shape` as torch has it, the widest stride first."""

    shape: tuple[int, ...]
    type_id: int
    offset: int  # from the start of the data section


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says about itself. Of long arrays (the vocabulary) `metadata` has the length alone."""

    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]

    @property
    def architecture(self) -> str:
        """GGUF's name of the model's architecture."""
        return str(self.metadata.get("general.architecture", ""))

    def value(self, key: str, default: int = 0) -> int:
        """A number of the architecture's own metadata; the largest where it has one for each block."""
        found = self.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(found, list):
            found = max(found, default=default)
        return int(found)


class _Cursor:
    """Reads a file's start piece by piece, never past its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.data, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise EOFError

    def string(self) -> str:
        start = self.at + 8
        self.skip(8 + struct.unpack_from("<Q", self.data, self.at)[0])
        return self.data[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_SCALARS[kind])
        inner, count = self.scalar("I"), self.scalar("Q")
        if count <= _KEPT_ARRAY:
            return [self.value(inner) for _ in range(count)]
        if inner == _STRING:
            for _ in range(count):
                self.skip(8 + struct.unpack_from("<Q", self.data, self.at)[0])
        else:
            self.skip(count * struct.calcsize(f"<{_SCALARS[inner]}"))
        return count


def read_gguf(path: Path) -> GgufHeader:
    """Header of a GGUF file. Raises CorruptFile when it is damaged or shorter than its tensors."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header, start = _parse(data, path)
            size = len(data)
    except (struct.error, EOFError, KeyError, ValueError, OverflowError) as error:
        raise _damaged(path, "its header cannot be read to the end") from error
    end = max((start + t.offset + _bytes(t, path) for t in header.tensors.values()), default=0)
    if size < end:
        raise _damaged(path, f"its header tells of {end:,} bytes, it has {size:,}")
    return header


def _parse(data: mmap.mmap, path: Path) -> tuple[GgufHeader, int]:
    if data[:4] != b"GGUF":
        raise _damaged(path, "it does not begin with 'GGUF'")
    cursor = _Cursor(data)
    cursor.at = 4
    version = cursor.scalar("I")
    if version not in (2, 3):
        raise ModelError(
            f"'{path.name}' has GGUF version {version}; versions 2 and 3, little-endian, can be read.",
            hint="Convert it again with a current llama.cpp.",
        )
    tensor_count, value_count = cursor.scalar("Q"), cursor.scalar("Q")
    if max(tensor_count, value_count) > _MAX_COUNT:
        raise EOFError
    metadata: dict[str, Any] = {}
    for _ in range(value_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("I"))
    tensors: dict[str, GgufTensor] = {}
    for _ in range(tensor_count):
        name = cursor.string()
        dimensions = cursor.scalar("I")
        shape = tuple(cursor.scalar("Q") for _ in range(min(dimensions, 8)))
        tensors[name] = GgufTensor(shape[::-1], cursor.scalar("I"), cursor.scalar("Q"))
    alignment = int(metadata.get("general.alignment", 32)) or 32
    return GgufHeader(metadata, tensors), -(-cursor.at // alignment) * alignment


def _bytes(tensor: GgufTensor, path: Path) -> int:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.type_id)]
    except (ValueError, KeyError) as error:
        raise ModelError(
            f"'{path.name}' uses the quantisation type {tensor.type_id}, which this version does not know.",
            hint="Use a file with a common type such as Q4_K_M, Q8_0 or F16.",
        ) from error
    return int(prod(tensor.shape) // block * size)


def _damaged(path: Path, why: str) -> CorruptFile:
    return CorruptFile(
        f"'{path.name}' is not a complete GGUF file: {why}.", hint="Copy or download the file again."
    )
