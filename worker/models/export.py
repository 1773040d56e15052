"""A changed model as a folder: weights, configuration, tokenizer and card, as transformers itself would have saved it.

Tensors go from the checkpoint's files to the new ones one at a time; only changed feed-forward weights are touched. The
folder is written aside, as `<folder>.part`, and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from app.catalog import Checkpoint
from app.catalog.families import Layout, find_layout
from app.catalog.headers import INDEX
from app.errors import Conflict, ModelError, NumericsError, StoreError, StoreFull, UnsafeFile
from app.schemas.model import Projection
from worker.models.changes import Experts, check_changes, rows_of
from worker.models.expanded import write_experts
from worker.models.tensorfile import DTYPES, TensorWriter, durable

SHARD_BYTES = 1 << 30

_TOKENIZER = ("tokenizer", "special_tokens_map", "added_tokens", "chat_template", "vocab.", "merges.")
_OTHER = ("config.json", "generation_config.json")
_TERMS = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_CHECKED = (".json", "tokenizer.model", "vocab.txt", "merges.txt")
"""Ends of files that `catalog.resolve` has made sure lie below the root of models."""

Pruned = Callable[[int, Projection], Tensor | None]
"""The weight (out, in) of a layer's projection, or None where it stays; called once for each, in the order of layers."""
Expanded = Callable[[int, Projection], Experts | None]
"""The experts of a layer's projection, or None where it stays; called once for each, in the order of layers."""


def export_pruned(
    checkpoint: Checkpoint,
    changes: Pruned,
    folder: Path,
    card: str,
    progress: Callable[[float], None] = lambda share: None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the model of `checkpoint` with its feed-forward weights changed; transformers opens it without this program.

    All other tensors are those of the checkpoint, bit for bit; changed ones get its dtype and orientation. `card` is the
    text of README.md. `progress` gets the share that is done, 0 to 1, and may raise to stop. Shards are of at most
    `shard_bytes`, unless a single tensor is larger. Memory: a block's changes and one tensor.
    For a GGUF file give the converted copy, `BlockModel.checkpoint`.
    Raises Conflict (the folder exists), ModelError (a change does not fit), NumericsError (a change is not finite),
    StoreFull or StoreError. Nothing is left behind then.
    """
    with _aside(folder) as part:
        _write_model(checkpoint, changes, part, card, progress, shard_bytes)


def export_expanded(
    checkpoint: Checkpoint,
    changes: Expanded,
    folder: Path,
    card: str,
    progress: Callable[[float], None] = lambda share: None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the model of `checkpoint` and, beside its own weights, the experts of its feed-forward layers.

    transformers opens the folder as the dense model; `load_expanded` opens it with its experts, which are in one packed
    file for each block. Everything else as in `export_pruned`; also raises ModelError when nothing is expanded.
    """
    layout = _layout(checkpoint)
    with _aside(folder) as part:
        write_experts(checkpoint, layout, changes, part, lambda share: progress(share / 2))
        _write_model(
            checkpoint, lambda *_: None, part, card, lambda share: progress((1 + share) / 2), shard_bytes
        )


def _layout(checkpoint: Checkpoint) -> Layout:
    if checkpoint.folder is None:
        raise ModelError(
            f"'{checkpoint.title}' is no folder of safetensors.",
            hint="Export the converted copy, or resolve the model with download=True.",
        )
    return find_layout(checkpoint.config, checkpoint.tensors, checkpoint.title)


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which gets its name when all went well and is removed when not."""
    part = folder.with_name(f"{folder.name}.part")
    if folder.exists():
        raise Conflict(f"'{folder}' exists already.", hint="Remove it, or export to another folder.")
    try:
        if part.exists():
            shutil.rmtree(part)
        part.mkdir(parents=True)
        yield part
        os.replace(part, folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreFull(f"No space is left for the export at '{folder}'.", hint="Free some.") from error
        raise StoreError(f"The export '{folder}' cannot be written: {error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_model(
    checkpoint: Checkpoint,
    changes: Pruned,
    part: Path,
    card: str,
    progress: Callable[[float], None],
    shard_bytes: int,
) -> None:
    layout = _layout(checkpoint)
    _copy_files(checkpoint, part)
    (part / "README.md").write_text(card, encoding="utf-8")
    sizes = {name: info.size * _dtype(checkpoint, name).itemsize for name, info in checkpoint.tensors.items()}
    layers = _Changed(layout, changes, checkpoint.title)
    shards = _shards(sorted(sizes, key=lambda name: (layers.layer_of(name), name)), sizes, shard_bytes)
    total, done = max(1, sum(sizes.values())), 0
    places: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = (
            f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        )
        with durable(part / file) as stream, contextlib.ExitStack() as opened:
            tensors = _Source(checkpoint, opened)
            specs = {name: (checkpoint.tensors[name].dtype, checkpoint.tensors[name].shape) for name in names}
            writer = TensorWriter(stream, specs)
            for name in names:
                writer.write(name, layers.changed(name, tensors.read(name)))
                places[name] = file
                done += sizes[name]
                progress(done / total)
            writer.close()
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(places.items()))}
        (part / INDEX).write_text(json.dumps(index, indent=2))


def _dtype(checkpoint: Checkpoint, name: str) -> torch.dtype:
    kind = checkpoint.tensors[name].dtype
    if kind not in DTYPES:
        raise ModelError(
            f"The tensor '{name}' of '{checkpoint.title}' has the type {kind}, which is not exported."
        )
    return DTYPES[kind]


def _shards(names: Sequence[str], sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Names in their order, in groups of at most `limit` bytes."""
    shards: list[list[str]] = [[]]
    room = limit
    for name in names:
        if shards[-1] and sizes[name] > room:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= sizes[name]
    return shards


class _Source:
    """The checkpoint's tensors, its files opened once for as long as the stack lasts."""

    def __init__(self, checkpoint: Checkpoint, opened: contextlib.ExitStack) -> None:
        self._checkpoint, self._opened = checkpoint, opened
        self._files: dict[str, Any] = {}

    def read(self, name: str) -> Tensor:
        file = self._checkpoint.tensors[name].file
        if file not in self._files:
            path = Path(self._checkpoint.folder or "") / file
            self._files[file] = self._opened.enter_context(safe_open(path, framework="pt"))
        tensor: Tensor = self._files[file].get_tensor(name)
        return tensor


class _Changed:
    """Which tensors of a checkpoint are feed-forward weights, and what they become."""

    def __init__(self, layout: Layout, changes: Pruned, title: str) -> None:
        self._changes, self._title, self._start = changes, title, f"{layout.path}."
        self._parts: dict[str, list[Projection]] = {}
        for projection in layout.projections:
            self._parts.setdefault(f"{projection.module}.weight", []).append(projection)

    def layer_of(self, name: str) -> int:
        """The tensor's layer; -1 outside the blocks."""
        number = name.removeprefix(self._start).partition(".")[0] if name.startswith(self._start) else ""
        return int(number) if number.isdecimal() else -1

    def changed(self, name: str, old: Tensor) -> Tensor:
        """The tensor as it is to be written: `old` itself unless some of its rows change."""
        layer = self.layer_of(name)
        parts = self._parts.get(name.removeprefix(f"{self._start}{layer}."), []) if layer >= 0 else []
        new = old
        for projection in parts:
            weight = self._changes(layer, projection)
            if weight is None:
                continue
            check_changes([projection], {projection.name: weight})
            new = old.clone() if new is old else new
            rows = (new.T if projection.transposed else new)[rows_of(projection)]
            rows.copy_(weight)
            if not torch.isfinite(rows).all():
                raise NumericsError(
                    f"'{projection.name}' of block {layer} of '{self._title}' is not finite in {old.dtype}.",
                    hint="Prune less of it.",
                )
        return new


def _copy_files(checkpoint: Checkpoint, part: Path) -> None:
    """Configuration, tokenizer and terms of use; never code or other weights.

    Raises UnsafeFile for a link that could lead out of the root of models; the hub's own snapshots consist of links.
    """
    for path in sorted(Path(checkpoint.folder or "").iterdir()):
        name = path.name
        wanted = (
            name in _OTHER
            or name.startswith((*_TOKENIZER, *_TERMS))
            or path.suffix in (".model", ".tiktoken")
        )
        if not wanted or path.suffix == ".py" or not path.is_file():
            continue
        if path.is_symlink() and checkpoint.kind != "hub" and not name.endswith(_CHECKED):
            raise UnsafeFile(
                f"'{name}' of '{checkpoint.title}' is a link.", hint="Put the file itself there."
            )
        shutil.copyfile(path, part / name)
