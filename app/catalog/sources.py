"""The models that can be named right now: the demo, those below the model root, those in the hub's local cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.catalog import hub
from app.catalog.checkpoint import DEMO_FILE, FORMS, find_demo
from app.schemas.model import ModelSource, ModelSources
from app.settings import Settings

MOST = 500
DEEPEST = 3


def model_sources(settings: Settings) -> ModelSources:
    """All of them, the demo first. Nothing is opened: a listed model may still turn out to be unusable."""
    items = []
    if find_demo() is not None:
        title = f"{DEMO_FILE.split('.')[0]} (offline demo)"
        items.append(ModelSource(source="demo", title=title, kind="demo"))
    if settings.model_root is not None and settings.model_root.is_dir():
        items += list(_below(settings.model_root.resolve()))
    items += [
        ModelSource(source=f"hub:{name}", title=f"{name} (cached)", kind="hub")
        for name in hub.cached_models()
    ]
    return ModelSources(items=items, total=len(items), forms=FORMS)


def _below(root: Path) -> Iterator[ModelSource]:
    """Folders with config.json and safetensors, and GGUF files, at most three folders deep."""
    folders, found = [root], 0
    while folders and found < MOST:
        folder = folders.pop(0)
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue  # not readable for this user: it cannot be used either
        names = {entry.name for entry in entries}
        if "config.json" in names and any(name.endswith(".safetensors") for name in names) and folder != root:
            found += 1
            place = folder.relative_to(root).as_posix()
            yield ModelSource(source=f"path:{place}", title=place, kind="path")
        for entry in entries:
            if entry.name.startswith(".") or not entry.resolve().is_relative_to(root):
                continue
            if entry.is_dir() and len(entry.relative_to(root).parts) <= DEEPEST:
                folders.append(entry)
            elif entry.name.endswith(".gguf") and entry.is_file():
                found += 1
                place = entry.relative_to(root).as_posix()
                yield ModelSource(source=f"gguf:{place}", title=place, kind="gguf")
