"""The stream of blocks is bit-equal to the model's own forward, for every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from app import catalog
from app.errors import CorruptFile, InvalidRequest, ModelError, NumericsError
from app.settings import Settings
from tests.unit.tiny import FAMILIES, VOCABULARY, save_tiny
from worker.models import BlockModel, open_model

CPU = torch.device("cpu")


def open_folder(folder: Path, **values: object) -> BlockModel:
    settings = Settings(model_root=folder.parent, cache=folder.parent / "cache", **values)
    return open_model(catalog.resolve(f"path:{folder.name}", settings), CPU, settings)


def some_windows(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(1, VOCABULARY, (length,), generator=generator) for length in lengths]


def check_bit_equal(folder: Path, lengths: list[int]) -> None:
    """Every block and the end, against transformers' own model on the same batches."""
    stream = open_folder(folder, batch_tokens=64)
    own = AutoModel.from_pretrained(folder).eval()
    assert own.dtype == stream.dtype
    batches = stream.embed(some_windows(lengths))
    assert [tuple(batch.ids.shape) for batch in batches] == [(2, 24), (1, 17)]
    wanted = []
    for batch in batches:
        seen: list[torch.Tensor] = []
        hooks = [
            layer.register_forward_hook(
                lambda _m, _i, out, seen=seen: seen.append(out[0] if isinstance(out, (tuple, list)) else out)
            )
            for layer in own.get_submodule(stream._path)
        ]
        with torch.no_grad():
            last = own(input_ids=batch.ids, use_cache=False).last_hidden_state
        for hook in hooks:
            hook.remove()
        wanted.append((seen, last))
    hidden = [batch.hidden for batch in batches]
    for layer in range(stream.inspection.blocks):
        with stream.block(layer) as block:
            hidden = [block.forward(h, batch) for h, batch in zip(hidden, batches, strict=True)]
        for got, (seen, _) in zip(hidden, wanted, strict=True):
            assert torch.equal(got, seen[layer]), f"block {layer}"
    for got, batch, (_, last) in zip(hidden, batches, wanted, strict=True):
        assert torch.equal(stream.finish(got, batch), last)


@pytest.mark.parametrize("family", FAMILIES)
def test_bit_equal_to_the_models_own_forward(family: str, tmp_path: Path) -> None:
    check_bit_equal(save_tiny(family, tmp_path / "model"), [24, 24, 17])


@pytest.mark.parametrize("family", ["gemma3_text", "gemma2", "llama", "gpt2", "bert"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_bit_equal_in_16_bits(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    check_bit_equal(save_tiny(family, tmp_path / "model", dtype=dtype), [24, 24, 17])


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert"])
def test_a_checkpoint_of_the_bare_model_lacks_the_prefix(family: str, tmp_path: Path) -> None:
    check_bit_equal(save_tiny(family, tmp_path / "model", head=False), [24, 24, 17])


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_follow_from_captured_inputs_and_weights(family: str, tmp_path: Path) -> None:
    stream = open_folder(save_tiny(family, tmp_path / "model"))
    (batch,) = stream.embed(some_windows([20, 20]))
    with stream.block(1) as block:
        outputs: dict[str, torch.Tensor] = {}
        modules = {projection.module for projection in stream.inspection.projections}
        hooks = [
            block.module.get_submodule(name).register_forward_hook(
                lambda _m, _i, out, name=name: outputs.__setitem__(name, out)
            )
            for name in modules
        ]
        with block.capture() as captured:
            block.forward(batch.hidden, batch)
        for hook in hooks:
            hook.remove()
        found = block.projections()
        assert [p.projection for p in found] == stream.inspection.projections
        for p in found:
            projection = p.projection
            assert p.weight.shape == (projection.out_features, projection.in_features)
            assert (p.bias is not None) == projection.bias
            again = captured[projection.module].float() @ p.weight.float().T
            again = again if p.bias is None else again + p.bias.float()
            rows = slice(projection.first_row, projection.first_row + projection.out_features)
            torch.testing.assert_close(again, outputs[projection.module][..., rows], atol=1e-5, rtol=1e-5)
        assert set(captured) == modules
        assert not any(m._forward_pre_hooks for m in block.module.modules())


def test_gate_and_up_share_their_inputs(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "model"))
    (batch,) = stream.embed(some_windows([20]))
    with stream.block(0) as block, block.capture() as captured:
        block.forward(batch.hidden, batch)
    assert captured["mlp.gate_proj"].data_ptr() == captured["mlp.up_proj"].data_ptr()


def test_hooks_go_also_after_a_failure(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "model"))
    (batch,) = stream.embed(some_windows([20]))
    with stream.block(0) as block:
        with pytest.raises(RuntimeError), block.capture():
            block.forward(batch.hidden[..., :5], batch)
        assert not any(m._forward_pre_hooks for m in block.module.modules())


def test_arguments_differ_between_layers_of_gemma_3(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("gemma3_text", tmp_path / "model"))
    (batch,) = stream.embed(some_windows([30]))
    sliding, full, again = (call.kwargs for call in batch.calls)
    assert not torch.equal(sliding["position_embeddings"][0], full["position_embeddings"][0])
    assert sliding["position_embeddings"][0] is again["position_embeddings"][0]


def test_masks_and_tables_of_equal_batches_are_kept_once(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "model"), batch_tokens=16)
    first, second = stream.embed(some_windows([16, 16]))
    assert first.calls[0].kwargs["position_embeddings"][0] is second.calls[2].kwargs["position_embeddings"][0]


def test_only_one_block_is_resident(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "model"))

    def resident() -> list[bool]:
        return [all(not p.is_meta for p in block.parameters()) for block in stream._blocks]

    assert resident() == [False, False, False]
    with stream.block(1):
        assert resident() == [False, True, False]
    assert all(p.is_meta for block in stream._blocks for p in block.parameters())


def test_shards_are_read_like_one_file(tmp_path: Path) -> None:
    whole = open_folder(save_tiny("llama", tmp_path / "whole"))
    folder = save_tiny("llama", tmp_path / "shards")
    AutoModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink()
    shards = open_folder(folder)
    assert len(list(folder.glob("*.safetensors"))) > 2
    for layer in range(3):
        with whole.block(layer) as one, shards.block(layer) as other:
            for a, b in zip(one.projections(), other.projections(), strict=True):
                assert torch.equal(a.weight, b.weight)


def test_windows_are_batched_by_length_and_never_padded(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "model"), batch_tokens=32)
    windows = some_windows([16, 16, 16, 16, 16, 7])
    batches = stream.embed(windows)
    assert [tuple(batch.ids.shape) for batch in batches] == [(2, 16), (2, 16), (1, 16), (1, 7)]
    assert torch.equal(torch.cat([batch.ids.flatten() for batch in batches]), torch.cat(windows))


def test_a_window_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("gpt2", tmp_path / "model"))
    with pytest.raises(InvalidRequest, match="129 tokens; the context of 'model' is 128"):
        stream.embed(some_windows([129]))


def test_a_tokenizer_of_another_model_is_noticed(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "model"))
    with pytest.raises(ModelError, match="gives token 999, the model knows 384"):
        stream.embed([torch.tensor([1, 999])])


def alter(folder: Path, change: object) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)  # type: ignore[operator]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model")
    alter(folder, lambda tensors: tensors.pop("model.layers.1.self_attn.q_proj.weight"))
    stream = open_folder(folder)
    with (
        pytest.raises(CorruptFile, match=r"'model' lacks the tensor 'layers\.1\.self_attn\.q_proj\.weight'"),
        stream.block(1),
    ):
        pytest.fail("a block without its weights was given out")


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model")
    alter(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(5)}))
    with pytest.raises(
        ModelError, match=r"'norm\.weight' of 'model' has the shape \[5\], the model expects \[32\]"
    ):
        open_folder(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_weights_name_block_and_projection(value: float, tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model")
    alter(folder, lambda tensors: tensors["model.layers.2.mlp.up_proj.weight"].view(-1)[7:8].fill_(value))
    stream = open_folder(folder)
    with (
        pytest.raises(NumericsError, match=r"'layers\.2\.mlp\.up_proj\.weight' of 'model' hold NaN"),
        stream.block(2),
    ):
        pytest.fail("a block with NaN was given out")
    assert all(p.is_meta for p in stream._blocks[2].parameters())


def test_outputs_beyond_float16_name_the_block(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model", dtype=torch.float16)
    alter(folder, lambda tensors: tensors["model.layers.1.mlp.down_proj.weight"].fill_(60000.0))
    stream = open_folder(folder)
    (batch,) = stream.embed(some_windows([20]))
    with (
        stream.block(1) as block,
        pytest.raises(NumericsError, match="output of block 1 holds NaN") as caught,
    ):
        block.forward(batch.hidden, batch)
    assert "bfloat16" in caught.value.hint


def test_old_names_of_bert_norms_are_understood(tmp_path: Path) -> None:
    folder = save_tiny("bert", tmp_path / "model")

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if "LayerNorm." in name]:
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            )
            tensors[old] = tensors.pop(name)

    alter(folder, rename)
    check_bit_equal(folder, [24, 24, 17])
