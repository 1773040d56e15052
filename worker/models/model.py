"""A model that is run block by block, never resident as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from app.catalog import Checkpoint, inspect_model
from app.catalog.families import find_layout
from app.errors import InvalidRequest, ModelError
from app.settings import Settings
from worker.models import skeleton
from worker.models.block import Block
from worker.models.convert import converted
from worker.models.head import Head
from worker.models.replay import Batch, Replay
from worker.models.weights import Weights, give_back_memory, load, unload


def open_model(checkpoint: Checkpoint, device: torch.device, settings: Settings) -> BlockModel:
    """The model of `checkpoint` on `device`: tokenizer, embeddings and norms loaded, blocks not.

    A GGUF file is dequantised to safetensors in `settings.cache` the first time.
    Raises ModelError and its kinds, or NumericsError for weights that are not finite.
    """
    model = BlockModel(converted(checkpoint, settings), device, settings)
    give_back_memory()
    return model


class BlockModel:
    """A model as a stream of blocks.

    `checkpoint` is what it is read from, for a GGUF file its converted copy; `inspection` describes it, `tokenizer` is its
    fast tokenizer, `dtype` the type of weights and hidden states.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, settings: Settings) -> None:
        if checkpoint.folder is None:
            raise ModelError(
                f"The files of '{checkpoint.title}' are not here.", hint="Resolve it with download=True."
            )
        self.checkpoint, self.inspection = checkpoint, inspect_model(checkpoint)
        self.device, self.settings = device, settings
        self.dtype: torch.dtype = getattr(torch, self.inspection.dtype)
        self.tokenizer: Any = skeleton.load_tokenizer(checkpoint.folder, checkpoint.title)
        self._model = skeleton.build(checkpoint.folder, self.dtype, checkpoint.title)
        layout = find_layout(checkpoint.config, checkpoint.tensors, checkpoint.title)
        self._path, self._blocks = skeleton.find_blocks(
            self._model, layout.path, layout.blocks, checkpoint.title
        )
        self._weights = Weights(
            checkpoint.folder, checkpoint.tensors, str(self._model.base_model_prefix), checkpoint.title
        )
        self._dtype_of = skeleton.dtype_plan(self._model, self.dtype)
        self._replay = Replay(self._model, self._blocks, checkpoint.title)
        self._head: Head | None = None
        self._load_outside()

    def _load_outside(self) -> None:
        """Weights of everything but the blocks; computed constants go to the device as they are."""
        blocks = f"{self._path}."
        names = [name for name in self._model.state_dict() if not name.startswith(blocks)]
        load(self._model, names, self._weights, "", self.device, self._dtype_of)
        for module in self._model.modules():
            for leaf in module._non_persistent_buffers_set:
                if module._buffers.get(leaf) is not None:
                    module._buffers[leaf] = module._buffers[leaf].to(self.device)

    @torch.no_grad()
    def embed(self, windows: Sequence[Tensor]) -> list[Batch]:
        """The first block's inputs for `windows` of token ids (T,), in order, with every block's arguments.

        Neighbours of equal length are batched up to `settings.batch_tokens` tokens; nothing is padded.
        Raises InvalidRequest (longer than the context) or ModelError (ids outside the vocabulary).
        """
        rows = self._model.get_input_embeddings().weight.shape[0]
        for window in windows:
            if len(window) > self.inspection.context_length:
                raise InvalidRequest(
                    f"A window has {len(window):,} tokens; the context of '{self.inspection.title}' is "
                    f"{self.inspection.context_length:,}.",
                    hint=f"Ask for a window of at most {self.inspection.context_length:,} tokens.",
                )
            if len(window) and int(window.max()) >= rows:
                raise ModelError(
                    f"The tokenizer of '{self.inspection.title}' gives token {int(window.max()):,}, the model knows "
                    f"{rows:,}.",
                    hint="The tokenizer belongs to another model.",
                )
        return [self._replay.record(ids.to(self.device)) for ids in self._batches(windows)]

    def _batches(self, windows: Sequence[Tensor]) -> Iterator[Tensor]:
        group: list[Tensor] = []
        for window in windows:
            full = group and (len(group) + 1) * len(window) > self.settings.batch_tokens
            if group and (full or len(window) != len(group[0])):
                yield torch.stack(group)
                group = []
            group.append(window)
        if group:
            yield torch.stack(group)

    @contextlib.contextmanager
    def block(self, layer: int) -> Iterator[Block]:
        """The block with its weights, which go when the context is left."""
        module = self._blocks[layer]
        try:
            where = f"{self._path}.{layer}."
            load(module, module.state_dict(), self._weights, where, self.device, self._dtype_of)
            yield Block(layer, module, self.inspection.projections)
        finally:
            unload(module)
            give_back_memory()

    @torch.no_grad()
    def finish(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The model's last hidden state (B, T, d_model) from the last block's output: its final norm, if it has one."""
        return self._replay.finish(hidden, batch)

    def check_losses(self) -> None:
        """Raise ModelError, before any work, unless `losses` can be had: not of an encoder, nor without a head."""
        self._with_head()

    @torch.no_grad()
    def losses(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Each window's summed negative log-likelihood (B,) in nats, and how many tokens of each were predicted.

        hidden: (B, T, d_model), the last block's output; the model's norm and head are applied here. Tokens 2..T are
        predicted from those before them: the losses are float64 on the CPU, the count is T - 1. The head's weights are
        loaded at the first call. Raises ModelError for a model that has no next-token head.
        """
        losses = self._with_head().losses(self.finish(hidden, batch), batch.ids)
        return losses, max(0, batch.ids.shape[1] - 1)

    def _with_head(self) -> Head:
        if self._head is None:
            self._head = Head(self._model, self._weights, self.dtype, self.inspection.title)
        return self._head
