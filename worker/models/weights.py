"""Weights of a skeleton: read from safetensors shards into chosen modules, and let go again."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from app.catalog.headers import TensorInfo
from app.errors import CorruptFile, ModelError, NumericsError

_LEGACY_NAMES = (
    ("LayerNorm.weight", "LayerNorm.gamma"),
    ("LayerNorm.bias", "LayerNorm.beta"),
    ("lm_head.weight", "embed_out.weight"),
)
"""What checkpoints call parameters that have another name in the model: old BERT's norms, GPT-NeoX's head."""


class Weights:
    """The tensors of a checkpoint, found by the names that the bare model has for them.

    A checkpoint's names may have the bare model's prefix (`model.`, `transformer.`, ...) or lack it.
    """

    def __init__(self, folder: Path, tensors: Mapping[str, TensorInfo], prefix: str, title: str) -> None:
        self.folder, self.tensors, self.prefix, self.title = folder, tensors, prefix, title

    def key(self, name: str) -> str:
        """The checkpoint's name of a tensor. Raises CorruptFile when it has none."""
        found = self._find(name)
        if found is None:
            raise CorruptFile(
                f"'{self.title}' lacks the tensor '{name}'.", hint="Copy or download the model again."
            )
        return found

    def has(self, name: str) -> bool:
        """Whether the checkpoint has the tensor."""
        return self._find(name) is not None

    def _find(self, name: str) -> str | None:
        names = [name, *(name.replace(new, old) for new, old in _LEGACY_NAMES if name.endswith(new))]
        for candidate in names:
            for key in (f"{self.prefix}.{candidate}", candidate):
                if key in self.tensors:
                    return key
        return None

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The named tensors, each shard opened once. They rest on the file: copy what is to be kept."""
        shards: dict[str, list[tuple[str, str]]] = {}
        for name in names:
            key = self.key(name)
            shards.setdefault(self.tensors[key].file, []).append((name, key))
        for file, wanted in shards.items():
            with safe_open(self.folder / file, framework="pt") as opened:
                for name, key in wanted:
                    yield name, opened.get_tensor(key)


def load(
    module: nn.Module,
    names: Iterable[str],
    weights: Weights,
    prefix: str,
    device: torch.device,
    dtype_of: Callable[[str], torch.dtype],
) -> None:
    """Give the parameters and buffers `names` of `module`, which is at `prefix` in the model, their weights on `device`.

    Raises CorruptFile (missing), ModelError (another shape) or NumericsError (NaN or infinity), each naming the tensor.
    """
    inner = {f"{prefix}{name}": name for name in names}
    for full, value in weights.read(inner):
        owner, leaf = _owner(module, inner[full])
        old = getattr(owner, leaf)
        if old.shape != value.shape:
            raise ModelError(
                f"'{full}' of '{weights.title}' has the shape {list(value.shape)}, the model expects {list(old.shape)}.",
                hint="Its files do not fit its config.json.",
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise NumericsError(
                f"The weights '{full}' of '{weights.title}' hold NaN or infinity.",
                hint="The checkpoint is damaged, or its training had diverged: use another one.",
            )
        # Into memory of torch's own: the file's is mapped, and aligned in other ways.
        new = torch.empty(value.shape, dtype=dtype_of(full), device=device)
        new.copy_(value)
        _put(owner, leaf, new)


def unload(module: nn.Module) -> None:
    """Put every parameter and persistent buffer of `module` back on the meta device."""
    for name in module.state_dict():
        owner, leaf = _owner(module, name)
        _put(owner, leaf, torch.empty_like(getattr(owner, leaf), device="meta"))


def give_back_memory() -> None:
    """Hand freed memory back to the system: glibc keeps the holes between blocks, which otherwise add up."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def _put(owner: nn.Module, leaf: str, value: Tensor) -> None:
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        owner._buffers[leaf] = value
