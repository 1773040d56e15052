"""The hidden states between two blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.models import Batch
from worker.models.block import Block
from worker.models.memo import Memo
from worker.progress import Progress


@dataclass
class Stream:
    """The hidden states between two blocks, (B, T, d_model) a batch, and how the model calls its blocks with them."""

    batches: list[Batch]
    hidden: list[Tensor]
    shapes: list[torch.Size]

    @classmethod
    def of(cls, batches: list[Batch]) -> Stream:
        """The first block's input. The batches let go of theirs: it would stay in memory for the whole run."""
        hidden = [batch.hidden for batch in batches]
        shapes = [one.shape for one in hidden]
        light = [replace(batch, hidden=batch.hidden.new_empty(0)) for batch in batches]
        return cls(light, hidden, shapes)

    @property
    def tokens(self) -> int:
        """Tokens of all batches."""
        return sum(shape[0] * shape[1] for shape in self.shapes)

    def at(self, hidden: list[Tensor]) -> Stream:
        """The same windows with other hidden states."""
        return Stream(self.batches, hidden, self.shapes)

    def advance(self, block: Block, progress: Progress, memos: Sequence[Memo] | None = None) -> None:
        """Run a block: the stream becomes its output. memos: of each batch, what is known of it already."""
        for i, batch in enumerate(self.batches):
            progress.check()
            self.hidden[i] = block.forward(self.hidden[i], batch, None if memos is None else memos[i])
