"""Recording how a model calls its blocks, and what it does with the last one's output.

The model's own forward runs with every block replaced by a stub that keeps its arguments and hands its input on. Only
embeddings, masks and rotary tables are computed, by the model itself, also where they differ from layer to layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from app.errors import ModelError


@dataclass(frozen=True)
class Call:
    """One block's arguments beside the hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Windows of equal length that go through the model together. No padding.

    `hidden` (B, T, d_model): the first block's input; `ids` (B, T); `calls`: one for each block.
    """

    hidden: Tensor
    ids: Tensor
    calls: list[Call] = field(repr=False)


class _Stub(nn.Module):
    """Stands for a block: what the model reads from the block, it still finds."""

    def __init__(self, block: nn.Module, in_tuple: bool) -> None:
        super().__init__()
        self.__dict__["block"] = block  # not as a submodule: the model would run through it
        self.in_tuple = in_tuple
        self.given: Tensor | None = None
        self.instead: Tensor | None = None
        self.call: Call | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["block"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            hidden, args = args[0], args[1:]
        else:
            hidden = kwargs.pop("hidden_states")
        self.given, self.call = hidden, Call(args, kwargs)
        hidden = hidden if self.instead is None else self.instead
        return (hidden,) if self.in_tuple else hidden


@contextlib.contextmanager
def _stubs(blocks: nn.ModuleList, in_tuple: bool) -> Iterator[list[_Stub]]:
    real = list(blocks)
    stubs = [_Stub(block, in_tuple) for block in real]
    try:
        for i, stub in enumerate(stubs):
            blocks[i] = stub
        yield stubs
    finally:
        for i, block in enumerate(real):
            blocks[i] = block


class Replay:
    """The model around its blocks: `record` what comes before them, `finish` what comes after."""

    def __init__(self, model: Any, blocks: nn.ModuleList, title: str) -> None:
        self.model, self.blocks, self.title = model, blocks, title
        self.in_tuple = False
        self._seen: dict[tuple[int, ...], list[Call]] = {}

    def record(self, ids: Tensor) -> Batch:
        """The first block's input and every block's arguments for `ids` (B, T).

        Raises ModelError when the model does more between two blocks than to hand the hidden states on.
        """
        failure: Exception | None = None
        for in_tuple in (
            self.in_tuple,
            not self.in_tuple,
        ):  # what a block returns differs between architectures
            with _stubs(self.blocks, in_tuple) as stubs:
                try:
                    self.model(input_ids=ids, use_cache=False)
                except (TypeError, IndexError, ValueError, AttributeError, RuntimeError) as error:
                    failure = error
            first = stubs[0].given
            if first is not None and first.dim() == 3 and all(stub.given is first for stub in stubs):
                self.in_tuple = in_tuple
                calls = [stub.call for stub in stubs if stub.call is not None]
                return Batch(first, ids, self._shared(tuple(ids.shape), calls))
            if isinstance(failure, RuntimeError) and any(
                sign in str(failure) for sign in ("memory", "ALLOC_FAILED")
            ):
                raise failure
        cause = f" ({str(failure).splitlines()[0]})" if failure is not None and str(failure) else ""
        raise ModelError(
            f"'{self.title}' changes its hidden states between two blocks, or calls them in a way of its own{cause}.",
            hint="See docs/models.md for the families that are known.",
        ) from failure

    def finish(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The model's last hidden state (B, T, d): what it makes of the last block's output `hidden`."""
        with _stubs(self.blocks, self.in_tuple) as stubs:
            stubs[-1].instead = hidden
            last: Tensor = self.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        return last

    def _shared(self, shape: tuple[int, ...], calls: list[Call]) -> list[Call]:
        """The same calls on the tensors of an earlier batch of this shape where equal: masks are kept once."""
        before = self._seen.get(shape)
        if before is None:
            self._seen[shape] = calls
            return calls
        return [
            Call(_same(new.args, old.args), _same(new.kwargs, old.kwargs))
            for new, old in zip(calls, before, strict=True)
        ]


def _same(new: Any, old: Any) -> Any:
    """`new`, with every tensor in it replaced by its equal in `old`."""
    if isinstance(new, Tensor):
        equal = (
            isinstance(old, Tensor)
            and new.dtype == old.dtype
            and new.shape == old.shape
            and torch.equal(new, old)
        )
        return old if equal else new
    if type(new) is tuple and type(old) is tuple and len(new) == len(old):
        return tuple(_same(a, b) for a, b in zip(new, old, strict=True))
    if type(new) is dict and type(old) is dict and new.keys() == old.keys():
        return {key: _same(value, old[key]) for key, value in new.items()}
    return new
