"""Where a GGUF file's dequantised copy lies, and whether that copy is whole."""

from __future__ import annotations

from pathlib import Path

from app.catalog.headers import read_folder, read_json
from app.errors import CorruptFile
from app.settings import Settings

MARKER = "wasserscope.json"
"""Sizes of all files of the copy, written last."""


def converted_folder(settings: Settings, fingerprint: str) -> Path:
    """Folder of the copy; it may not exist."""
    return settings.cache / "models" / fingerprint


def is_whole(folder: Path) -> bool:
    """Whether the copy is there with every file as long as it was written, and readable headers."""
    marker = folder / MARKER
    if not marker.is_file():
        return False
    try:
        sizes = read_json(marker)
        if any(
            not (folder / name).is_file() or (folder / name).stat().st_size != size
            for name, size in sizes.items()
        ):
            return False
        files, _ = read_folder(folder)
    except CorruptFile:
        return False
    return bool(files)
