"""GGUF files: dequantised once, streamed from the copy ever after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from app import catalog
from app.catalog.convert import MARKER, converted_folder, is_whole
from app.catalog.gguf_model import ARCHITECTURES
from app.errors import ModelError, StoreFull
from app.settings import Settings
from tests.unit.tiny import tiny_config, tiny_tokenizer
from worker.models import convert, open_model

CPU = torch.device("cpu")
CONTEXT = 1024  # GPT-2's own: transformers does not read it from the file


def write_gguf(
    architecture: str, path: Path, context: int = CONTEXT, without: str = "", head: torch.Tensor | None = None
) -> Any:
    """A tiny random model in a GGUF file, float32, as llama.cpp's converter would name things; the model itself.

    head: (vocabulary, width) of a head of its own; without one it is tied.
    """
    model_type = ARCHITECTURES[architecture][0]
    shape = {
        "gpt2": {"n_inner": 128, "n_positions": context},
        "qwen3": {"intermediate_size": 64, "head_dim": 128},
    }
    config = tiny_config(model_type, **shape.get(model_type, {"intermediate_size": 64}))
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(context)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64 if model_type != "gpt2" else 128)
    writer.add_head_count(4)
    if model_type == "gpt2":
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_head_count_kv(2)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_dimension_count(8)
        writer.add_key_length(8)
        writer.add_value_length(8)
    if architecture.startswith("gemma"):
        writer.add_sliding_window(8)
    add_tokenizer(writer)
    kind = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    prefix = "transformer" if model_type == "gpt2" else "model"
    for name, value in model.state_dict().items():
        array = value.numpy()
        if model_type == "gpt2" and array.ndim == 2 and name.startswith("h."):  # Conv1D
            array = array.T
        if architecture.startswith("gemma") and "norm" in name:
            array = array + 1
        place = names.get_name(f"{prefix}.{name}", try_suffixes=(".weight", ".bias"))
        if place != without:
            writer.add_tensor(place, np.ascontiguousarray(array))
    if head is not None:
        writer.add_tensor("output.weight", head.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    backend = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(backend["vocab"], key=backend["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_merges([" ".join(merge) for merge in backend["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model_root=tmp_path, cache=tmp_path / "cache")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_header_and_dequantised_copy_tell_the_same(
    architecture: str, tmp_path: Path, settings: Settings
) -> None:
    original = write_gguf(architecture, tmp_path / "tiny.gguf")
    checkpoint = catalog.resolve("gguf:tiny.gguf", settings)
    seen = catalog.inspect_model(checkpoint)
    stream = open_model(checkpoint, CPU, settings)
    same = (
        "projections",
        "blocks",
        "neurons",
        "d_model",
        "vocabulary",
        "context_length",
        "dtype",
        "fingerprint",
    )
    for field in ("family", "parameters", *same):
        assert getattr(stream.inspection, field) == getattr(seen, field), field
    with stream.block(2) as block:
        for p in block.projections():
            blocks = original.get_submodule(stream._path)
            module = blocks[2].get_submodule(p.projection.module)  # type: ignore[index]
            weight = module.weight.T if p.projection.transposed else module.weight
            rows = slice(p.projection.first_row, p.projection.first_row + p.projection.out_features)
            assert torch.equal(p.weight, weight[rows])


def test_later_runs_stream_from_the_copy(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf("llama", tmp_path / "tiny.gguf")
    checkpoint = catalog.resolve("gguf:tiny.gguf", settings)
    open_model(checkpoint, CPU, settings)
    monkeypatch.setattr(convert, "_dequantise", lambda *_: pytest.fail("dequantised twice"))
    stream = open_model(checkpoint, CPU, settings)
    assert stream.inspection.blocks == 3
    assert [path.name for path in (settings.cache / "models").iterdir()] == [checkpoint.fingerprint]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_head_is_converted_too(architecture: str, tied: bool, tmp_path: Path, settings: Settings) -> None:
    head = None if tied else torch.randn(384, 32)
    original = write_gguf(architecture, tmp_path / "tiny.gguf", head=head)
    stream = open_model(catalog.resolve("gguf:tiny.gguf", settings), CPU, settings)
    (batch,) = stream.embed([torch.arange(1, 21)])
    losses, count = stream.losses(batch.hidden, batch)
    weight = original.get_input_embeddings().weight if tied else head
    logits = stream.finish(batch.hidden, batch)[0, :-1] @ weight.T
    wanted = torch.nn.functional.cross_entropy(logits, batch.ids[0, 1:], reduction="sum")
    torch.testing.assert_close(losses.float()[0], wanted, rtol=1e-5, atol=0)
    assert count == 19
    assert ("lm_head.weight" in stream.checkpoint.tensors) != tied


def test_a_copy_without_the_files_head_is_made_again(tmp_path: Path, settings: Settings) -> None:
    write_gguf("llama", tmp_path / "tiny.gguf", head=torch.randn(384, 32))
    checkpoint = catalog.resolve("gguf:tiny.gguf", settings)
    open_model(checkpoint, CPU, settings)
    folder = converted_folder(settings, checkpoint.fingerprint)
    AutoModel.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(
        folder
    )  # as version 0.1 made it
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != MARKER}
    (folder / MARKER).write_text(json.dumps(sizes))
    assert is_whole(folder)
    open_model(checkpoint, CPU, settings).check_losses()
    assert "lm_head.weight" in open_model(checkpoint, CPU, settings).checkpoint.tensors


@pytest.mark.parametrize("damage", ["weights", "config.json", "tokenizer.json", MARKER])
def test_a_damaged_copy_is_made_again(damage: str, tmp_path: Path, settings: Settings) -> None:
    write_gguf("llama", tmp_path / "tiny.gguf")
    checkpoint = catalog.resolve("gguf:tiny.gguf", settings)
    open_model(checkpoint, CPU, settings)
    folder = converted_folder(settings, checkpoint.fingerprint)
    if damage == "weights":
        (weights,) = folder.glob("*.safetensors")
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        (folder / damage).unlink()
    assert not is_whole(folder)
    open_model(checkpoint, CPU, settings)
    assert is_whole(folder)


def test_a_failed_conversion_leaves_nothing(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf("llama", tmp_path / "tiny.gguf")

    def fails(_file: Path, target: Path) -> None:
        target.mkdir()
        (target / "half").write_text("written")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "_dequantise", fails)
    with pytest.raises(StoreFull, match=r"No space is left .* copy of 'tiny\.gguf'") as caught:
        open_model(catalog.resolve("gguf:tiny.gguf", settings), CPU, settings)
    assert "WASSERSCOPE_CACHE" in caught.value.hint
    assert list((settings.cache / "models").iterdir()) == []


def test_a_file_that_transformers_cannot_read_is_named(tmp_path: Path, settings: Settings) -> None:
    write_gguf("gpt2", tmp_path / "tiny.gguf", context=64)  # fewer positions than any GPT-2 has
    with pytest.raises(ModelError, match=r"'tiny\.gguf' cannot be dequantised"):
        open_model(catalog.resolve("gguf:tiny.gguf", settings), CPU, settings)


def test_a_missing_tensor_is_never_replaced_by_random_numbers(tmp_path: Path, settings: Settings) -> None:
    write_gguf("llama", tmp_path / "tiny.gguf", without="blk.1.attn_q.weight")
    with pytest.raises(
        ModelError, match=r"lacks, .*the tensor 'model\.layers\.1\.self_attn\.q_proj\.weight'"
    ):
        open_model(catalog.resolve("gguf:tiny.gguf", settings), CPU, settings)


def test_architectures_that_transformers_reads_wrongly_are_refused(
    tmp_path: Path, settings: Settings
) -> None:
    writer = gguf.GGUFWriter(tmp_path / "phi.gguf", "phi3")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(
        ModelError, match=r"'phi\.gguf' has the architecture 'phi3', which is not read from GGUF"
    ):
        catalog.resolve("gguf:phi.gguf", settings)
