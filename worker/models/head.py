"""A model's head: next-token losses from its last hidden state, by the model's own forward.

The causal model's skeleton is built with its base model replaced by a stub that returns the hidden state it is given, so
that whatever the architecture does to its logits (soft caps, scales, biases) happens here too. Its weights are loaded
when losses are first asked for; a tied head shares the embeddings that are there already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.utils import logging as transformers_logging

from app.errors import ModelError
from worker.models.skeleton import dtype_plan
from worker.models.weights import Weights, load

LOGITS_BYTES = 1 << 28
"""Size of a slice's logits in float32."""


class _Last(nn.Module):
    """Stands for the base model: its last hidden state is the one it was given."""

    hidden: Tensor

    @property
    def decoder(self) -> _Last:
        """Itself: OPT calls its base model's decoder."""
        return self

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.hidden)


class Head:
    """What comes after a bare model `base`: logits and losses."""

    def __init__(self, base: Any, weights: Weights, dtype: torch.dtype, title: str) -> None:
        """Nothing is loaded yet. Raises ModelError for a model that does not predict the next token."""
        self.base, self.weights, self.title = base, weights, title
        _check_causal(base.config, title)
        quiet = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()
        try:
            with init_empty_weights(include_buffers=False):
                self.model: Any = AutoModelForCausalLM.from_config(
                    base.config, dtype=dtype, trust_remote_code=False
                ).eval()
        finally:
            transformers_logging.set_verbosity(quiet)
        self._prefix = f"{self.model.base_model_prefix}."
        self._dtype_of = dtype_plan(self.model, dtype)
        self._tied = dict(getattr(self.model, "all_tied_weights_keys", None) or {})
        self.stub = _Last()
        setattr(self.model, self._prefix[:-1], self.stub)
        self._loaded = False
        self._check_weights()

    def _check_weights(self) -> None:
        for name in self.model.state_dict():
            if not self.weights.has(name) and not self._source(name):
                raise ModelError(
                    f"'{self.title}' lacks the weights of its head, '{name}'.",
                    hint="Use a checkpoint of the whole model: a bare one has no perplexity.",
                )

    def _source(self, name: str) -> str:
        """The base model's parameter that a head's one is tied to; empty for none."""
        source = str(self._tied.get(name, ""))
        return source.removeprefix(self._prefix) if source.startswith(self._prefix) else ""

    def _load(self, device: torch.device) -> None:
        """Weights of the head. A tied one that the checkpoint has too stays its own only where it differs."""
        names = list(self.model.state_dict())
        load(self.model, [n for n in names if self.weights.has(n)], self.weights, "", device, self._dtype_of)
        for name in names:
            source = self._source(name)
            if not source:
                continue
            shared, own = self.base.get_parameter(source), self.model.get_parameter(name)
            if not self.weights.has(name) or torch.equal(shared, own):
                path, _, leaf = name.rpartition(".")
                self.model.get_submodule(path)._parameters[leaf] = shared
        self._loaded = True

    @torch.no_grad()
    def losses(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Summed negative log-likelihood (B,) in nats, float64 on the CPU, of tokens 2..T of `ids` (B, T).

        hidden: (B, T, d), the model's last hidden state.
        """
        if not self._loaded:
            self._load(hidden.device)
        windows, length = ids.shape
        step = max(1, LOGITS_BYTES // (4 * self.base.get_input_embeddings().weight.shape[0]))
        total = torch.zeros(windows, dtype=torch.float64)
        for rows, span in _slices(windows, length, step):
            logits = self.logits(hidden[rows, span], ids[rows, span])
            targets = ids[rows, span.start + 1 : span.stop + 1]
            logits = logits[:, : targets.shape[1]].float()
            losses = nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="none"
            )
            total[rows] += losses.cpu().double().reshape(targets.shape).sum(dim=1)
        return total

    def logits(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """(B, n, vocabulary) of the last hidden state (B, n, d) of tokens `ids` (B, n)."""
        self.stub.hidden = hidden
        try:
            logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        finally:
            del self.stub.hidden
        return logits


def _slices(windows: int, length: int, step: int) -> Iterator[tuple[slice, slice]]:
    """Parts of (windows, length) of at most `step` tokens: whole windows where they fit, else parts of one."""
    if length < 2:
        return
    together = max(1, step // length)
    for first in range(0, windows, together):
        for start in range(0, length - 1, step):
            yield slice(first, min(first + together, windows)), slice(start, min(start + step, length))


def _check_causal(config: Any, title: str) -> None:
    """Raise ModelError unless the model predicts each token from those before it."""
    kind, masked = config.model_type, config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if getattr(config, "use_bidirectional_attention", False) or (
        masked and not getattr(config, "is_decoder", False)
    ):
        raise ModelError(
            f"'{title}' ({kind}) is an encoder, whose attention sees both sides: it has no perplexity.",
            hint="Pruning and expansion of it work; compare its outputs instead.",
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(
            f"transformers has no head for '{title}' ({kind}) that predicts the next token: it has no perplexity.",
            hint="Pruning and expansion of it work; compare its outputs instead.",
        )
