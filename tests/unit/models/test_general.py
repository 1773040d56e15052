"""Families that the general rule serves, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app import catalog
from app.catalog.families import FAMILIES, GENERAL, find_layout
from app.errors import ModelError
from app.schemas.model import ModelInspection
from app.settings import Settings
from tests.unit.models.test_stream import check_bit_equal, open_folder, some_windows
from tests.unit.tiny import FAMILIES as TINY
from tests.unit.tiny import save_tiny

_COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
_SPECIAL: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": 32, "n_head": 4},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_heads": 4, "max_position_embeddings": 128},
    "falcon": {"hidden_size": 32, "num_attention_heads": 4},
    "gpt_neo": {
        "hidden_size": 32,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 2]],
        "max_position_embeddings": 128,
        "window_size": 8,
    },
    "gptj": {"n_embd": 32, "n_head": 4, "n_positions": 128, "rotary_dim": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "max_seq_len": 128},
    "openai-gpt": {"n_embd": 32, "n_head": 4, "n_positions": 128},
}


def save(family: str, folder: Path) -> Path:
    blocks = 4 if family == "gpt_neo" else 3
    return save_tiny(family, folder, blocks=blocks, head=False, **_SPECIAL.get(family, _COMMON))


def inspect(folder: Path) -> ModelInspection:
    return catalog.inspect_model(catalog.resolve(f"path:{folder.name}", Settings(model_root=folder.parent)))


@pytest.mark.parametrize("family", sorted(GENERAL))
def test_the_general_rule_serves(family: str, tmp_path: Path) -> None:
    folder = save(family, tmp_path / "model")
    inspection = inspect(folder)
    assert inspection.family == "general"
    widths = [(p.in_features, p.out_features) for p in inspection.projections]
    assert len(widths) in (2, 3)
    assert all(inside < outside for inside, outside in widths[:-1])
    assert widths[-1] == widths[0][::-1]
    check_bit_equal(folder, [24, 24, 17])


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_general_rule_agrees_with_the_table(family: str, tmp_path: Path) -> None:
    folder = save_tiny(family, tmp_path / "model")
    checkpoint = catalog.resolve(f"path:{folder.name}", Settings(model_root=folder.parent))
    table = find_layout(checkpoint.config, checkpoint.tensors, "model")
    kind = "openai-gpt" if family == "gpt2" else "unheard-of"  # a type with the same transposed layers
    general = find_layout({**checkpoint.config, "model_type": kind}, checkpoint.tensors, "model")
    assert (table.family, general.family) == (family, "general")
    assert general.projections == table.projections
    assert (general.path, general.blocks) == (table.path, table.blocks)


def test_every_family_of_the_table_has_a_tiny_model() -> None:
    assert set(TINY) == set(FAMILIES)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("t5", r"'model' is an encoder-decoder model \(t5\)"),
        ("mixtral", r"'model' is a mixture of experts \(mixtral\)"),
        ("qwen3_moe", r"'model' is a mixture of experts \(qwen3_moe\)"),
        ("mamba", r"'model' \(mamba\) has no feed-forward layers"),
    ],
)
def test_refused_with_a_reason(family: str, message: str, tmp_path: Path) -> None:
    folder = save_tiny(family, tmp_path / "model", head=False, **_COMMON)
    with pytest.raises(ModelError, match=message) as caught:
        inspect(folder)
    assert caught.value.hint


def test_a_model_that_does_more_between_blocks_is_refused(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("deberta-v2", tmp_path / "model", head=False, **_COMMON))
    with pytest.raises(ModelError, match="changes its hidden states between two blocks"):
        stream.embed(some_windows([16]))
