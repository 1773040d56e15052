"""What a block computed before its feed-forward layers, kept for another forward on the same input.

A block that runs once to see its feed-forward inputs and once more with those layers changed would compute its attention
twice. A module that has returned before the first feed-forward layer is called cannot depend on any of them, whatever
the architecture; its output is kept, and the second forward is bit-equal to one that computes everything.

Memory: as much as the hidden states, (tokens, d_model) in the model's dtype.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Memo:
    """Outputs by module path of one forward of one block."""

    outputs: dict[str, _Kept] = field(default_factory=dict)
    of: tuple[nn.Module, Tensor] | None = None
    """The block and the input they belong to."""

    def fits(self, module: nn.Module, hidden: Tensor) -> bool:
        """Whether a forward of `module` on `hidden` may use them."""
        return self.of is not None and self.of[0] is module and self.of[1] is hidden


@dataclass(frozen=True)
class _Kept:
    output: Any
    versions: tuple[int, ...]
    """Of its tensors: one that was changed in place since is not used."""

    @classmethod
    def of(cls, output: Any) -> _Kept | None:
        """None for an output that is more than hidden states: attention weights, say, would fill the memory."""
        tensors = _tensors(output)
        if not tensors or sum(t.numel() for t in tensors) > tensors[0].numel():
            return None
        return cls(output, tuple(t._version for t in tensors))

    @property
    def intact(self) -> bool:
        return self.versions == tuple(t._version for t in _tensors(self.output))


@contextlib.contextmanager
def keeping(module: nn.Module, changing: Sequence[str], memo: Memo, hidden: Tensor) -> Iterator[None]:
    """Within, one forward of `module` on `hidden` fills `memo` until the first of the modules `changing` is called."""
    memo.outputs.clear()
    memo.of = (module, hidden)
    open_, seen = [True], set()

    def close(*_: Any) -> None:
        open_[0] = False

    with contextlib.ExitStack() as hooks:
        for path in changing:
            hooks.callback(module.get_submodule(path).register_forward_pre_hook(close).remove)
        for path in _untouched(module, changing):

            def keep(_: nn.Module, __: Any, output: Any, path: str = path) -> None:
                kept = _Kept.of(output) if open_[0] and path not in seen else None
                seen.add(path)
                memo.outputs.pop(path, None)  # called twice: which of the two is asked for cannot be told
                if kept is not None:
                    memo.outputs[path] = kept

            hooks.callback(module.get_submodule(path).register_forward_hook(keep).remove)
        yield


@contextlib.contextmanager
def recalling(module: nn.Module, memo: Memo) -> Iterator[None]:
    """Within, the modules of which `memo` has an output return it; once left they compute again."""
    with contextlib.ExitStack() as undo:
        for path, kept in memo.outputs.items():
            if not kept.intact:
                continue
            part: Any = module.get_submodule(path)
            undo.callback(_restore, part, part.__dict__.get("forward"))
            part.forward = _returning(kept.output)
        yield


def _returning(output: Any) -> Any:
    def forward(*_: Any, **__: Any) -> Any:
        return output

    return forward


def _restore(module: Any, before: Any) -> None:
    if before is None:
        del module.forward
    else:
        module.forward = before


def _untouched(module: nn.Module, changing: Sequence[str]) -> list[str]:
    """Paths of the largest submodules that hold matrices and none of `changing`."""
    found: list[str] = []

    def look(part: nn.Module, path: str) -> None:
        if any(name == path or name.startswith(f"{path}.") for name in changing) or not path:
            for name, child in part.named_children():
                look(child, f"{path}.{name}" if path else name)
        elif any(parameter.dim() > 1 for parameter in part.parameters()):
            found.append(path)

    look(module, "")
    return found


def _tensors(output: Any) -> list[Tensor]:
    parts = output if isinstance(output, (tuple, list)) else (output,)
    return [part for part in parts if isinstance(part, torch.Tensor)]
