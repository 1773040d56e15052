"""Headers of safetensors files: names, types and shapes of tensors, read without their data.

A file is eight bytes (length of the header, little-endian), the header (JSON) and the data; see the format's description
at huggingface.co/docs/safetensors. Reading it here keeps torch and its file bindings out of the service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from app.errors import CorruptFile

MAX_HEADER_BYTES = 100_000_000
INDEX = "model.safetensors.index.json"
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor in a file: `dtype` in safetensors' words (`F32`, `BF16`, ...), `file` the file's name in its folder."""

    dtype: str
    shape: tuple[int, ...]
    file: str

    @property
    def size(self) -> int:
        """Number of its elements."""
        return prod(self.shape)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Tensors of one safetensors file. Raises CorruptFile when its size is not what its header says."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(len(_POINTER))
        if head == _POINTER:
            raise CorruptFile(
                f"'{path.name}' is a Git LFS pointer, not the file itself.", hint="Run 'git lfs pull' there."
            )
        length = int.from_bytes(head[:8], "little")
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise _damaged(path, "it ends before its header does")
        stream.seek(8)
        raw = stream.read(length)
    try:
        entries = json.loads(raw)
        end = max(
            (entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0
        )
        tensors = {
            name: TensorInfo(entry["dtype"], tuple(entry["shape"]), path.name)
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(path, "its header cannot be read") from error
    if size != 8 + length + end:
        raise _damaged(path, f"its header tells of {8 + length + end:,} bytes, it has {size:,}")
    return tensors


def read_folder(folder: Path) -> tuple[tuple[Path, ...], dict[str, TensorInfo]]:
    """The safetensors files of a checkpoint folder and all their tensors.

    Raises CorruptFile when a shard of the index is missing or a file is damaged. Empty when there is none.
    """
    index = folder / INDEX
    if index.is_file():
        files = tuple(folder / name for name in shards_of_index(read_json(index), folder.name))
    elif (folder / "model.safetensors").is_file():
        files = (folder / "model.safetensors",)
    else:
        files = tuple(sorted(folder.glob("*.safetensors")))
    for file in files:
        if not file.is_file():
            raise CorruptFile(
                f"'{folder.name}' lacks the shard '{file.name}' that its index names.",
                hint="Copy or download the model again.",
            )
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        tensors |= read_header(file)
    return files, tensors


def shards_of_index(index: Mapping[str, Any], name: str) -> list[str]:
    """File names in a checkpoint's index, in order. Raises CorruptFile when one is no plain file name."""
    shards = index.get("weight_map")
    if not isinstance(shards, dict):
        raise CorruptFile(f"The index of '{name}' names no files.", hint="Copy or download the model again.")
    files = sorted({str(file) for file in shards.values()})
    for file in files:
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise CorruptFile(
                f"The index of '{name}' names '{file}', which is no safetensors file beside it."
            )
    return files


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CorruptFile when it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptFile(
            f"'{path.name}' of '{path.parent.name}' is not valid JSON.",
            hint="Copy or download the model again.",
        ) from error
    if not isinstance(value, dict):
        raise CorruptFile(f"'{path.name}' of '{path.parent.name}' is not a JSON object.")
    return value


def _damaged(path: Path, why: str) -> CorruptFile:
    return CorruptFile(
        f"'{path.name}' is not a complete safetensors file: {why}.", hint="Copy or download the file again."
    )
