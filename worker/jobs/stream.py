"""The hidden states between two blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.models import Batch
from worker.models.block import Block
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

    def advance(self, block: Block, progress: Progress) -> None:
        """Run a block: the stream becomes its output."""
        for i, batch in enumerate(self.batches):
            progress.check()
            self.hidden[i] = block.forward(self.hidden[i], batch)
