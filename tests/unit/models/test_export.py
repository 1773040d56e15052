"""Exports open in transformers, and compute what the changed blocks compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from app import catalog
from app.errors import Conflict, CorruptFile, JobCancelled, ModelError, NumericsError, StoreFull, UnsafeFile
from app.schemas.model import Projection
from tests.unit.models.test_changed import centroid_router, experts, pruned
from tests.unit.models.test_convert import write_gguf
from tests.unit.models.test_stream import CPU, open_folder, some_windows
from tests.unit.tiny import save_tiny
from worker.models import (
    BlockModel,
    Change,
    Experts,
    export_expanded,
    export_pruned,
    load_expanded,
    open_model,
)
from worker.models import export as export_module
from worker.models.expanded import ExpandedLinear
from worker.numerics.router import RandomRouter

FAMILIES = ["llama", "gpt2", "phi3", "gpt_neox", "opt", "gemma3_text"]


def half_of(layer: int, projection: Projection) -> torch.Tensor | None:
    """Pruned weights for most projections; the first of layer 1 and the last of layer 2 stay."""
    first, last = projection.name in ("gate_proj", "c_fc", "gate_up_proj.gate"), "down" in projection.name
    return None if (layer == 1 and first) or (layer == 2 and last) else pruned(projection, 7 * layer)


class Routed:
    """Experts for most projections; those of a block with the same input share the router."""

    def __init__(self, control: bool = False) -> None:
        self.control, self.routers = control, {}  # type: ignore[var-annotated]

    def __call__(self, layer: int, projection: Projection) -> Experts | None:
        if half_of(layer, projection) is None:
            return None
        key = (layer, projection.in_features)
        if key not in self.routers:
            shares = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
            random = RandomRouter(shares, layer)
            self.routers[key] = random if self.control else centroid_router(projection.in_features, 3, layer)
        return experts(projection, self.routers[key])


def wanted_states(stream: BlockModel, changes: Any, ids: torch.Tensor) -> torch.Tensor:
    """The last hidden state, block by block with `Block.changed`."""
    (batch,) = stream.embed(list(ids))
    hidden = batch.hidden
    for layer in range(stream.inspection.blocks):
        found: dict[str, Change] = {}
        for projection in stream.inspection.projections:
            change = changes(layer, projection)
            if change is not None:
                found[projection.name] = change
        with stream.block(layer) as block, block.changed(found):
            hidden = block.forward(hidden, batch)
    return stream.finish(hidden, batch)


def wanted_logits(stream: BlockModel, changes: Any, ids: torch.Tensor) -> torch.Tensor:
    head = stream._with_head()
    head._load(CPU)
    return head.logits(wanted_states(stream, changes, ids), ids)


def ids_of() -> torch.Tensor:
    return torch.stack(some_windows([24, 24]))


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    return model.eval()(input_ids=ids, use_cache=False).logits


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for file in folder.glob("model*.safetensors"):
        tensors |= load_file(file)
    return tensors


@pytest.mark.parametrize(
    ("family", "dtype"),
    [(family, torch.float32) for family in FAMILIES] + [("llama", torch.bfloat16), ("gpt2", torch.float16)],
)
def test_pruned_models_open_in_transformers(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    source = save_tiny(family, tmp_path / "source", dtype=dtype)
    stream = open_folder(source)
    export_pruned(stream.checkpoint, half_of, tmp_path / "out", "# A card", shard_bytes=20_000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == dtype
    assert torch.equal(logits_of(model, ids_of()), wanted_logits(stream, half_of, ids_of()))
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in after.values())
    assert {n: (t.dtype, t.shape) for n, t in before.items()} == {
        n: (t.dtype, t.shape) for n, t in after.items()
    }
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    layers = {p.module for p in stream.inspection.projections}
    assert changed
    assert all(any(f".{module}.weight" in name for module in layers) for name in changed)


def test_what_is_in_the_folder(tmp_path: Path) -> None:
    source = save_tiny("llama", tmp_path / "source", tie_word_embeddings=True)
    for name in ("LICENSE", "generation_config.json", "chat_template.jinja"):
        (source / name).write_text("{}")
    for name in ("code.py", "notes.txt", "pytorch_model.index", "tokenizer.py"):
        (source / name).write_text("no")
    stream = open_folder(source)
    export_pruned(stream.checkpoint, half_of, tmp_path / "out", "# A card\n")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("README.md", "config.json", "generation_config.json", "model.safetensors", "LICENSE"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    }
    assert (tmp_path / "out" / "README.md").read_text() == "# A card\n"
    assert (tmp_path / "out" / "config.json").read_bytes() == (source / "config.json").read_bytes()
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("Hi there").input_ids
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "lm_head.weight" not in tensors_of(tmp_path / "out")
    again = open_folder(tmp_path / "out")
    with again.block(0) as block:
        assert torch.equal(block.projections()[0].weight, pruned(block.projections()[0].projection, 0))


def test_no_change_is_a_copy(tmp_path: Path) -> None:
    source = save_tiny("phi3", tmp_path / "source", dtype=torch.float16)
    export_pruned(open_folder(source).checkpoint, lambda *_: None, tmp_path / "out", "")
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_changes_are_asked_once_block_by_block_and_progress_grows(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("phi3", tmp_path / "source", blocks=12))
    asked, shares = [], []

    def ask(layer: int, projection: Projection) -> None:
        asked.append((layer, projection.name))

    export_pruned(stream.checkpoint, ask, tmp_path / "out", "", shares.append, shard_bytes=50_000)
    names = {p.name for p in stream.inspection.projections}
    assert sorted(asked) == sorted((layer, name) for layer in range(12) for name in names)
    assert [layer for layer, _ in asked] == sorted(layer for layer, _ in asked)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_an_encoder_and_a_bare_model(tmp_path: Path) -> None:
    for family, head in (("bert", True), ("llama", False)):
        stream = open_folder(save_tiny(family, tmp_path / family, head=head))
        out = tmp_path / f"{family}-out"
        export_pruned(stream.checkpoint, half_of, out, "")
        model = AutoModel.from_pretrained(out).eval()
        with torch.no_grad():
            state = model(input_ids=ids_of()).last_hidden_state
        assert torch.equal(state, wanted_states(stream, half_of, ids_of()))
        routed = Routed()
        export_expanded(stream.checkpoint, routed, tmp_path / f"{family}-experts", "")
        with torch.no_grad():
            state = load_expanded(tmp_path / f"{family}-experts")(input_ids=ids_of()).last_hidden_state
        assert torch.equal(state, wanted_states(stream, routed, ids_of()))


def test_a_gguf_model(tmp_path: Path) -> None:
    from app.settings import Settings

    write_gguf("llama", tmp_path / "tiny.gguf", head=torch.randn(384, 32))
    settings = Settings(model_root=tmp_path, cache=tmp_path / "cache")
    checkpoint = catalog.resolve("gguf:tiny.gguf", settings)
    with pytest.raises(ModelError, match="no folder of safetensors"):
        export_pruned(checkpoint, half_of, tmp_path / "out", "")
    stream = open_model(checkpoint, CPU, settings)
    export_pruned(stream.checkpoint, half_of, tmp_path / "out", "")
    assert not (tmp_path / "out" / "wasserscope.json").exists()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(logits_of(model, ids_of()), wanted_logits(stream, half_of, ids_of()))


def no_trace(folder: Path) -> bool:
    return not list(folder.parent.glob(f"{folder.name}*"))


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "source"))
    out = tmp_path / "out"

    def cancel(share: float) -> None:
        if share > 0.6:
            assert (tmp_path / "out.part").is_dir()
            raise JobCancelled("stop")

    with pytest.raises(JobCancelled):
        export_pruned(stream.checkpoint, half_of, out, "", cancel)
    assert no_trace(out)
    with pytest.raises(JobCancelled):
        export_expanded(stream.checkpoint, Routed(), out, "", cancel)
    assert no_trace(out)
    for change, kind, message in [
        (lambda _l, p: torch.ones(3, 3), ModelError, r"has the shape \[3, 3\]"),
        (lambda _l, p: pruned(p) * float("inf"), NumericsError, "is not finite in torch.float32"),
    ]:
        with pytest.raises(kind, match=message):
            export_pruned(stream.checkpoint, change, out, "")
        assert no_trace(out)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_module, "_copy_files", full)
    with pytest.raises(StoreFull):
        export_pruned(stream.checkpoint, half_of, out, "")
    assert no_trace(out)


def test_a_stale_half_is_replaced_and_a_whole_one_kept(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "source"))
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "stale").write_text("")
    export_pruned(stream.checkpoint, half_of, tmp_path / "out", "first")
    assert not (tmp_path / "out" / "stale").exists()
    with pytest.raises(Conflict, match="exists already"):
        export_pruned(stream.checkpoint, half_of, tmp_path / "out", "second")
    assert (tmp_path / "out" / "README.md").read_text() == "first"


def test_links_are_not_followed_out_of_the_root(tmp_path: Path) -> None:
    source = save_tiny("llama", tmp_path / "source")
    (tmp_path / "secret").write_text("secret")
    (source / "LICENSE").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeFile, match="'LICENSE' of 'source' is a link"):
        export_pruned(open_folder(source).checkpoint, half_of, tmp_path / "out", "")
    assert no_trace(tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "dense", "control"),
    [(family, False, False) for family in FAMILIES] + [("llama", True, False), ("phi3", False, True)],
)
def test_expanded_models_run_their_experts(family: str, dense: bool, control: bool, tmp_path: Path) -> None:
    source = save_tiny(family, tmp_path / "source")
    stream, routed = open_folder(source), Routed(control)
    export_expanded(stream.checkpoint, routed, tmp_path / "out", "# A card", shard_bytes=20_000)
    model = load_expanded(tmp_path / "out", dense=dense)
    assert torch.equal(logits_of(model, ids_of()), wanted_logits(stream, routed, ids_of()))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(
        logits_of(plain, ids_of()), logits_of(AutoModelForCausalLM.from_pretrained(source), ids_of())
    )
    again = open_folder(tmp_path / "out")  # our own catalog takes it for the dense model too
    assert again.inspection.parameters == stream.inspection.parameters


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
def test_expanded_models_generate(family: str, tmp_path: Path) -> None:
    stream, routed = open_folder(save_tiny(family, tmp_path / "source", dtype=torch.bfloat16)), Routed()
    export_expanded(stream.checkpoint, routed, tmp_path / "out", "")
    model = load_expanded(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    prompt = ids_of()[:1, :9]
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    made = model.generate(prompt, **options)
    assert made.shape == (1, 17)
    assert torch.equal(made, load_expanded(tmp_path / "out", dense=True).generate(prompt, **options))
    longest = wanted_logits(stream, routed, made)[0, 8:-1].float()
    chosen = longest.gather(1, made[0, 9:, None])[:, 0]
    assert (
        longest.max(dim=1).values - chosen <= 0.05 * longest.abs().max()
    ).all()  # the cache rounds otherwise


def test_experts_stay_packed_and_follow_the_model(tmp_path: Path) -> None:
    stream, routed = open_folder(save_tiny("phi3", tmp_path / "source")), Routed()
    export_expanded(stream.checkpoint, routed, tmp_path / "out", "")
    model = load_expanded(tmp_path / "out")
    layers = [m for m in model.modules() if isinstance(m, ExpandedLinear)]
    assert len(layers) == 5
    assert sum(m.own is None for m in layers) == 4  # one has a part without experts
    packed = sum(change.weights.nbytes for m in layers for _, change in m._experts)
    full = sum(
        4 * change.weights.shape.numel()
        for m in load_expanded(tmp_path / "out", dense=True).modules()
        if isinstance(m, ExpandedLinear)
        for _, change in m._experts
    )
    assert packed < 0.4 * full
    model.to(torch.bfloat16)
    assert all(change.weights.values.dtype == torch.bfloat16 for m in layers for _, change in m._experts)
    assert all(change.weights.mask.dtype == torch.uint8 for m in layers for _, change in m._experts)
    assert logits_of(model, ids_of()).dtype == torch.bfloat16
    with pytest.raises(ModelError, match="cannot be saved"):
        model.save_pretrained(tmp_path / "again")


def test_other_and_damaged_folders_are_named(tmp_path: Path) -> None:
    source = save_tiny("llama", tmp_path / "source")
    stream = open_folder(source)
    with pytest.raises(ModelError, match=r"has no wasserscope\.json"):
        load_expanded(source)
    with pytest.raises(ModelError, match="No layer of 'source' has experts"):
        export_expanded(stream.checkpoint, lambda *_: None, tmp_path / "out", "")
    assert no_trace(tmp_path / "out")
    out = tmp_path / "out"
    export_expanded(stream.checkpoint, Routed(), out, "")
    manifest, block = (out / "wasserscope.json").read_text(), (out / "experts-00001.safetensors").read_bytes()
    for name, damaged in [
        ("wasserscope.json", manifest[:-5].encode()),
        ("wasserscope.json", manifest.replace("experts-00001", "../experts-00001").encode()),
        ("experts-00001.safetensors", block[:-9]),
    ]:
        whole = (out / name).read_bytes()
        (out / name).write_bytes(damaged)
        with pytest.raises(CorruptFile):
            load_expanded(out)
        (out / name).write_bytes(whole)
    tensors = load_file(out / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    with pytest.raises(CorruptFile, match=r"lacks the tensor 'lm_head\.weight'"):
        load_expanded(out)
    (out / "experts-00001.safetensors").unlink()
    with pytest.raises(CorruptFile):
        load_expanded(out)
