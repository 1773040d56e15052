"""GGUF files described in transformers' words: configuration, and tensors by the names they get once dequantised."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app.catalog.families import FAMILIES
from app.catalog.gguf_header import GgufHeader, read_gguf
from app.catalog.headers import TensorInfo
from app.errors import ModelError

_GATED = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
ARCHITECTURES: dict[str, tuple[str, dict[str, str]]] = {
    "llama": ("llama", _GATED),
    "qwen2": ("qwen2", _GATED),
    "qwen3": ("qwen3", _GATED),
    "gemma2": ("gemma2", _GATED),
    "gemma3": ("gemma3_text", _GATED),
    "gpt2": ("gpt2", {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}),
}
"""GGUF's architecture to transformers' model type and the names of its feed-forward layers.

Phi-3 is not among them: transformers 5.23 does not find its fused matrices and leaves them random.
"""

CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
"""The class that transformers makes of it."""

_BLOCK = re.compile(r"^blk\.(\d+)\.([a-z_]+)\.(weight|bias)$")


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
    """Configuration and tensors of the model in a GGUF file, float32 as they are once dequantised.

    Raises CorruptFile for a damaged file and ModelError for an architecture that is not served from GGUF.
    """
    header = read_gguf(path)
    if header.architecture not in ARCHITECTURES:
        raise ModelError(
            f"'{path.name}' has the architecture '{header.architecture or 'none'}', which is not read from GGUF.",
            hint=f"Those that are: {', '.join(ARCHITECTURES)}. Use the model's safetensors instead.",
        )
    if header.value("expert_count"):
        raise ModelError(
            f"'{path.name}' is a mixture of experts: each token passes only some of its feed-forward layers.",
            hint="Dense models can be scored.",
        )
    model_type, names = ARCHITECTURES[header.architecture]
    return _config(header, model_type), _tensors(header, model_type, names, path.name)


def _config(header: GgufHeader, model_type: str) -> dict[str, Any]:
    vocabulary = header.metadata.get("tokenizer.ggml.tokens", 0)
    return {
        "model_type": model_type,
        "architectures": [CLASSES[model_type]],
        "num_hidden_layers": header.value("block_count"),
        "hidden_size": header.value("embedding_length"),
        "max_position_embeddings": header.value("context_length"),
        "vocab_size": vocabulary if isinstance(vocabulary, int) else len(vocabulary),
        "dtype": "float32",
    }


def _tensors(header: GgufHeader, model_type: str, names: dict[str, str], file: str) -> dict[str, TensorInfo]:
    blocks = FAMILIES[model_type].blocks
    transposed = {rule.module for rule in FAMILIES[model_type].rules if rule.transposed}
    tensors: dict[str, TensorInfo] = {}
    for name, tensor in header.tensors.items():
        match, shape = _BLOCK.match(name), tensor.shape
        if match and match[2] in names:
            module = names[match[2]]
            name = f"{blocks}.{match[1]}.{module}.{match[3]}"
            shape = shape[::-1] if module in transposed else shape
        tensors[name] = TensorInfo("F32", shape, file)
    return tensors
