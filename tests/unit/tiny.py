"""Tiny random models of every family, saved as a hub checkpoint would be: config, safetensors, fast tokenizer."""

from __future__ import annotations

import functools
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

VOCABULARY = 384

_LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_ROUND: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "sliding_window": 8},
    "qwen2": _LLAMA,
    "qwen3": {**_LLAMA, "head_dim": 8},
    "gemma2": {**_LLAMA, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_LLAMA, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "phi3": {**_LLAMA, "pad_token_id": 0},
    "gpt_neox": _ROUND,
    "opt": {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 48,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    },
    "gpt2": {"n_embd": 32, "n_head": 4, "n_positions": 128, "n_inner": 48},
    "bert": _ROUND,
}
"""Configuration of each family's tiny model, without its number of blocks."""

_BLOCKS = {
    "bloom": "n_layer",
    "distilbert": "n_layers",
    "gpt2": "n_layer",
    "gpt_neo": "num_layers",
    "gptj": "n_layer",
    "mpt": "n_layers",
    "openai-gpt": "n_layer",
}
"""What a configuration calls its number of blocks, where not `num_hidden_layers`."""


@functools.cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 384 tokens, trained on Python's documentation."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([topics[name] for name in sorted(topics)[:20]], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")


def tiny_config(family: str, *, blocks: int = 3, **overrides: Any) -> Any:
    """Configuration of the family's tiny model."""
    values = {**FAMILIES.get(family, {}), _BLOCKS.get(family, "num_hidden_layers"): blocks}
    values |= {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
    if family == "gemma3_text":  # one layer of each kind at least, whatever the number of blocks
        kinds = ["sliding_attention", "full_attention"]
        values["layer_types"] = [kinds[i % 2] for i in range(blocks)]
    return AutoConfig.for_model(family, **{**values, **overrides})


def save_tiny(family: str, folder: Path, *, blocks: int = 3, seed: int = 0, **overrides: Any) -> Path:
    """Save a random model of `family` to `folder` and return the folder.

    `overrides` go into the configuration, except `dtype` (weights are saved in it, float32 by default) and `head`
    (False saves the bare model, without the LM head and the prefix of its names).
    """
    dtype, head = overrides.pop("dtype", torch.float32), overrides.pop("head", True)
    config = tiny_config(family, blocks=blocks, **overrides)
    disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        headed = AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM
        model = (headed if head else AutoModel).from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():  # biases and norms too: zeros and ones would hide mistakes
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.to(dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
