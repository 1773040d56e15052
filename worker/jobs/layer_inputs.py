"""The inputs of a block's feed-forward layers for all tokens, layers that get the same ones together.

Memory: (tokens, in) of every distinct input of one block, in the model's dtype. On SmolLM2-135M with 16,384 tokens
that is 36 MiB for gate and up, and 96 MiB for down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from app.errors import ModelError
from worker.jobs.stream import Stream
from worker.models.block import Block, ProjectionWeight
from worker.models.memo import Memo
from worker.progress import Progress


@dataclass(frozen=True)
class Group:
    """Projections of one block that get the very same inputs."""

    inputs: Tensor
    """(tokens, in), in the model's dtype."""
    linears: tuple[ProjectionWeight, ...]

    @property
    def names(self) -> list[str]:
        """Names of its projections."""
        return [linear.projection.name for linear in self.linears]


class InputCollector:
    """Takes what `Block.capture` saw, batch by batch."""

    def __init__(self, linears: Iterable[ProjectionWeight], tokens: int) -> None:
        self.linears, self.tokens = list(linears), tokens
        self._inputs: dict[str, Tensor] = {}  # by the first module that gets them
        self._owner: dict[str, str] = {}
        self._start = 0

    def take(self, captured: Mapping[str, Tensor]) -> None:
        """One batch: `captured[module]` is (B, T, in)."""
        length = 0
        for module in dict.fromkeys(linear.projection.module for linear in self.linears):
            if module not in captured:
                raise ModelError(
                    f"The model never calls '{module}' on its inputs.",
                    hint="Its feed-forward network is not built of plain linear layers.",
                )
            given = captured[module]
            owner = next(other for other, seen in captured.items() if same(seen, given))
            if self._owner.setdefault(module, owner) != owner:
                raise ModelError(f"'{module}' shares its inputs with another layer in some batches only.")
            flat = given.reshape(-1, given.shape[-1])
            length = len(flat)
            if owner == module:
                if owner not in self._inputs:
                    self._inputs[owner] = flat.new_empty(self.tokens, flat.shape[1])
                self._inputs[owner][self._start : self._start + length] = flat
        self._start += length

    def groups(self) -> list[Group]:
        """The projections by their inputs, in the model's order."""
        found = []
        for owner, inputs in self._inputs.items():
            linears = tuple(x for x in self.linears if self._owner[x.projection.module] == owner)
            found.append(Group(inputs, linears))
        return found


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same memory seen in the same way."""
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()


def collect(
    block: Block,
    stream: Stream,
    progress: Progress,
    *,
    advance: bool = False,
    memos: Sequence[Memo] | None = None,
) -> list[Group]:
    """Run a block over `stream` and keep what its feed-forward layers get.

    advance: make the stream the block's output; otherwise it stays as it is. memos: one for each batch; filled, or
    made use of when the stream advances.
    """
    collector = InputCollector(block.projections(), stream.tokens)
    for i, batch in enumerate(stream.batches):
        progress.check()
        memo = None if memos is None else memos[i]
        if not advance:
            collector.take(block.inputs(stream.hidden[i], batch, memo))
            continue
        with block.capture() as captured:
            output = block.forward(stream.hidden[i], batch, memo)
        collector.take(captured)
        stream.hidden[i] = output
    return collector.groups()
