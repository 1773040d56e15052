"""A model without weights: its modules on the meta device, its computed constants (rotary tables) real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from app.errors import ModelError, UnsafeFile


def build(folder: Path, dtype: torch.dtype, title: str) -> Any:
    """The bare model (no head) of a checkpoint folder, in evaluation mode, parameters on the meta device.

    Buffers are made for real, in the same way as when transformers loads the model, so they are bit-equal to its own.
    Raises ModelError for an architecture that transformers does not know, UnsafeFile for one with code of its own.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        config.use_cache = False
        with init_empty_weights(include_buffers=False):
            model = AutoModel.from_config(config, dtype=dtype, trust_remote_code=False)
    except ValueError as error:
        text = str(error)
        if "trust_remote_code" in text:
            raise UnsafeFile(
                f"'{title}' brings its own Python code, which is never run.",
                hint="Use a model of an architecture that transformers has built in.",
            ) from error
        raise ModelError(
            f"transformers cannot build '{title}': {text.splitlines()[0]}",
            hint="See docs/models.md for what is known.",
        ) from error
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # BERT's: it comes after the blocks, and masked-LM checkpoints lack it
    return model.eval()


def find_blocks(model: Any, path: str, blocks: int, title: str) -> tuple[str, nn.ModuleList]:
    """The list of blocks and its path in the bare model; `path` is that of the tensors, with or without the prefix."""
    parts = path.split(".")
    for start in range(len(parts)):
        name = ".".join(parts[start:])
        try:
            found = model.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(found, nn.ModuleList) and len(found) == blocks:
            return name, found
    raise ModelError(
        f"'{title}' has no list of {blocks} blocks at '{path}'.", hint="Its files do not fit its config.json."
    )


def dtype_plan(model: Any, dtype: torch.dtype) -> Any:
    """Which type each parameter gets: `dtype`, but float32 for those the architecture keeps so."""
    kept = set(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    if dtype == torch.float16:
        kept |= set(getattr(model, "_keep_in_fp32_modules", None) or ())
    half = dtype in (torch.float16, torch.bfloat16)

    def dtype_of(name: str) -> torch.dtype:
        return torch.float32 if half and kept and any(part in name.split(".") for part in kept) else dtype

    return dtype_of


def load_tokenizer(folder: Path, title: str) -> PreTrainedTokenizerBase:
    """The model's fast tokenizer. Raises ModelError when there is none that tells which characters a token covers."""
    from transformers import AutoTokenizer

    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise ModelError(
            f"The tokenizer of '{title}' cannot be loaded: {(str(error).splitlines() or [''])[0]}",
            hint="Its folder needs the tokenizer's files, best a tokenizer.json.",
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of '{title}' does not tell which characters its tokens cover.",
            hint="Convert it to a tokenizer.json once: AutoTokenizer(...).save_pretrained with the tokenizers library.",
        )
    return tokenizer
