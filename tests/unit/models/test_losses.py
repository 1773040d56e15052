"""Losses from the last block's output, against transformers' own causal models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from app.catalog.families import FAMILIES as TABLE
from app.catalog.families import GENERAL
from app.errors import ModelError
from tests.unit.models.test_general import _COMMON, _SPECIAL
from tests.unit.models.test_stream import alter, open_folder, some_windows
from tests.unit.tiny import save_tiny
from worker.models import BlockModel, head

ENCODERS = {"bert", "distilbert", "electra", "ernie", "roberta", "xlm-roberta"}
CAUSAL = sorted((set(TABLE) | GENERAL) - ENCODERS)
EXTRA: dict[str, dict[str, Any]] = {
    "gemma2": {"final_logit_softcapping": 3.0},
    "granite": {"logits_scaling": 7.0},
    "cohere": {"logit_scale": 0.3},
    "opt": {"word_embed_proj_dim": 16},
}
"""What these families do beyond a plain matrix, made strong enough to matter."""


def save(family: str, folder: Path, **values: Any) -> Path:
    blocks = 4 if family == "gpt_neo" else 3
    shape = {} if family in TABLE else _SPECIAL.get(family, _COMMON)
    return save_tiny(family, folder, blocks=blocks, **{**shape, **EXTRA.get(family, {}), **values})


def run_losses(stream: BlockModel, lengths: list[int]) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """Ids, losses and count of each batch."""
    results = []
    batches = stream.embed(some_windows(lengths))
    hidden = [batch.hidden for batch in batches]
    for layer in range(stream.inspection.blocks):
        with stream.block(layer) as block:
            hidden = [block.forward(h, batch) for h, batch in zip(hidden, batches, strict=True)]
    for last, batch in zip(hidden, batches, strict=True):
        results.append((batch.ids, *stream.losses(last, batch)))
    return results


def check(folder: Path) -> None:
    """Bit-equal token by token to the logits of transformers' own model, and to its own loss."""
    stream = open_folder(folder, batch_tokens=64)
    own = AutoModelForCausalLM.from_pretrained(folder).eval()
    for ids, losses, count in run_losses(stream, [24, 24, 17]):
        with torch.no_grad():
            output = own(input_ids=ids, labels=ids, use_cache=False)
        logits, targets = output.logits[:, :-1].float(), ids[:, 1:]
        tokens = torch.nn.functional.cross_entropy(logits.mT, targets, reduction="none")
        assert (losses.dtype, losses.shape, count) == (torch.float64, (len(ids),), ids.shape[1] - 1)
        torch.testing.assert_close(losses, tokens.double().sum(dim=1), rtol=1e-6, atol=0)
        torch.testing.assert_close(losses.mean().item() / count, output.loss.item(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("family", CAUSAL)
def test_losses_are_transformers_own(family: str, tmp_path: Path) -> None:
    check(save(family, tmp_path / "model"))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gpt2", "opt", "gemma3_text", "phi3"])
def test_tied_and_untied_heads(family: str, tied: bool, tmp_path: Path) -> None:
    folder = save(family, tmp_path / "model", tie_word_embeddings=tied)
    names = set(load_file(folder / "model.safetensors"))
    assert bool(names & {"lm_head.weight", "embed_out.weight"}) != tied
    check(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_16_bits(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    check(save(family, tmp_path / "model", dtype=dtype))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "opt", "gemma3_text", "phi3"])
def test_logits_are_bit_equal(family: str, tmp_path: Path) -> None:
    folder = save(family, tmp_path / "model")
    stream = open_folder(folder)
    own = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.stack(some_windows([24, 24]))
    stream.check_losses()
    with torch.no_grad():
        hidden = own.base_model(input_ids=ids, use_cache=False).last_hidden_state
        wanted = own(input_ids=ids, use_cache=False).logits
        stream._head._load(stream.device)  # type: ignore[union-attr]
        assert torch.equal(stream._head.logits(hidden, ids), wanted)  # type: ignore[union-attr]


@pytest.mark.parametrize("tokens", [1, 5, 24, 50])
def test_slices_do_not_change_the_result(
    tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save("llama", tmp_path / "model")
    whole = run_losses(open_folder(folder), [24, 24, 24, 17])
    monkeypatch.setattr(head, "LOGITS_BYTES", 4 * 384 * tokens)
    seen: list[int] = []
    logits = head.Head.logits
    monkeypatch.setattr(
        head.Head, "logits", lambda self, h, ids: seen.append(ids.numel()) or logits(self, h, ids)
    )
    parts = run_losses(open_folder(folder), [24, 24, 24, 17])
    assert max(seen) <= tokens
    for (_, one, _), (_, other, _) in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_a_window_of_one_token_predicts_none(tmp_path: Path) -> None:
    ((_, losses, count),) = run_losses(open_folder(save("llama", tmp_path / "model")), [1])
    assert (losses.tolist(), count) == ([0.0], 0)


def test_the_head_is_loaded_when_first_asked_for_and_shared_when_tied(tmp_path: Path) -> None:
    stream = open_folder(save("gpt2", tmp_path / "model"))
    (batch,) = stream.embed(some_windows([8]))
    assert stream._head is None
    stream.check_losses()
    assert all(p.is_meta for p in stream._head.model.parameters())  # type: ignore[union-attr]
    stream.losses(batch.hidden, batch)
    weight = stream._head.model.lm_head.weight  # type: ignore[union-attr]
    assert weight is stream._model.get_input_embeddings().weight


def with_head(folder: Path, scale: float) -> Path:
    """A checkpoint whose configuration ties the head, and whose file has one all the same."""

    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * scale

    alter(folder, add)
    return folder


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_tied_head_in_the_file(scale: float, tmp_path: Path) -> None:
    folder = with_head(save("llama", tmp_path / "model", tie_word_embeddings=True), scale)
    check(folder)
    stream = open_folder(folder)
    run_losses(stream, [8])
    shared = stream._head.model.lm_head.weight is stream._model.embed_tokens.weight  # type: ignore[union-attr]
    assert shared == (scale == 1.0)


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_encoders_have_no_perplexity(family: str, tmp_path: Path) -> None:
    shape = {} if family in TABLE else _SPECIAL.get(family, _COMMON)
    stream = open_folder(save_tiny(family, tmp_path / "model", head=family == "bert", **shape))
    (batch,) = stream.embed(some_windows([8]))
    with pytest.raises(ModelError, match=r"has no perplexity|no head") as caught:
        stream.losses(batch.hidden, batch)
    assert "expansion" in caught.value.hint
    with pytest.raises(ModelError):
        stream.check_losses()


def test_attention_on_both_sides_has_no_perplexity(tmp_path: Path) -> None:
    stream = open_folder(save("gemma3_text", tmp_path / "model", use_bidirectional_attention=True))
    with pytest.raises(ModelError, match="sees both sides"):
        stream.check_losses()


def test_a_bare_checkpoint_with_its_own_head_lacks_it(tmp_path: Path) -> None:
    check(save("gpt2", tmp_path / "tied", head=False))
    stream = open_folder(save("llama", tmp_path / "model", head=False))
    with pytest.raises(ModelError, match=r"lacks the weights of its head, 'lm_head\.weight'"):
        stream.check_losses()


def test_nan_in_the_head_is_named(tmp_path: Path) -> None:
    folder = save("llama", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"][3, 4] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(Exception, match=r"'lm_head\.weight' of 'model' hold NaN"):
        run_losses(open_folder(folder), [8])
