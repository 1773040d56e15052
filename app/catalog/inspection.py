"""A model described from configuration and headers alone."""

from __future__ import annotations

from app.catalog.checkpoint import Checkpoint
from app.catalog.families import find_layout, first_number
from app.errors import ModelError
from app.schemas.model import ModelInspection

NO_LIMIT = 1_048_576
"""Context length of a model whose configuration sets none (ALiBi, for one)."""

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LEGACY = (
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
    "inv_freq",
    "position_ids",
)
"""Constants that old checkpoints keep beside their weights."""
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"})
"""Families that keep the first `pad_token_id + 1` position embeddings to themselves."""


def inspect_model(checkpoint: Checkpoint) -> ModelInspection:
    """Family, layers, shapes and counts of a checkpoint.

    Raises ModelError, UnsafeFile or CorruptFile when it cannot be scored.
    """
    config, tensors = checkpoint.config, checkpoint.tensors
    layout = find_layout(config, tensors, checkpoint.title)
    weights = {name: info for name, info in tensors.items() if not name.endswith(_LEGACY)}
    rows = sum(p.out_features for p in layout.projections)
    ffn = sum(p.out_features * (p.in_features + p.bias) for p in layout.projections)
    architectures = config.get("architectures") or [str(config.get("model_type", ""))]
    return ModelInspection(
        source=checkpoint.source,
        title=checkpoint.title,
        fingerprint=checkpoint.fingerprint,
        family=layout.family,
        architecture=str(architectures[0]),
        dtype=_dtype(checkpoint),
        blocks=layout.blocks,
        d_model=first_number(config, "hidden_size", "n_embd", "d_model", "dim")
        or layout.projections[0].in_features,
        context_length=_context(checkpoint),
        vocabulary=first_number(config, "vocab_size"),
        parameters=sum(info.size for info in weights.values()),
        ffn_parameters=ffn * layout.blocks,
        neurons=rows * layout.blocks,
        projections=list(layout.projections),
    )


def _context(checkpoint: Checkpoint) -> int:
    config = checkpoint.config
    length = first_number(
        config, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"
    )
    if length and config.get("model_type") in _OFFSET_POSITIONS:
        length -= int(config.get("pad_token_id") or 1) + 1
    return length or NO_LIMIT


def _dtype(checkpoint: Checkpoint) -> str:
    """What the configuration says, as transformers goes by; else the type of the first tensor. Raises ModelError."""
    found = {info.dtype for info in checkpoint.tensors.values() if len(info.shape) == 2}
    unknown = sorted(found - set(_DTYPES))
    if unknown:
        raise ModelError(
            f"'{checkpoint.title}' has weights of type {', '.join(unknown)}.",
            hint="Weights in float32, bfloat16 or float16 can be read; GGUF files may be quantised.",
        )
    named = checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype")
    if named in _DTYPES.values():
        return str(named)
    if named:
        raise ModelError(
            f"'{checkpoint.title}' asks for the type {named}.",
            hint="float32, bfloat16 or float16 can be used.",
        )
    return next((_DTYPES[i.dtype] for i in checkpoint.tensors.values() if i.dtype in _DTYPES), "float32")
