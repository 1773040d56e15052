"""Corpora: what there is, and the text that a name means."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.catalog import hub
from app.catalog.paths import below_root
from app.errors import CorpusError, WasserscopeError
from app.schemas.corpus import Corpus
from app.settings import Settings

ROOT_SETTING = "WASSERSCOPE_CORPUS_ROOT"
MAX_FILE_BYTES = 512 * 2**20
MAX_HUB_CHARACTERS = 32 * 2**20
"""Of C4, whose shards are far longer; about eight million tokens, above every run's limit."""
MOST_FILES = 500
BUILTIN_TITLE = "Python's language reference (built in)"
HUB: dict[str, tuple[str, str, dict[str, Any]]] = {
    "wikitext2": ("WikiText-2 (training part)", "Salesforce/wikitext", {"name": "wikitext-2-raw-v1"}),
    "c4": (
        "C4, English (first training shard)",
        "allenai/c4",
        {"data_files": {"train": "en/c4-train.00000-of-01024.json.gz"}},
    ),
}


def corpora(settings: Settings, texts: list[Corpus]) -> list[Corpus]:
    """All corpora that can be named: built in, of the hub when `datasets` is there, files below the root, `texts`."""
    found = [Corpus(name="python-docs", title=BUILTIN_TITLE, kind="builtin", characters=len(python_docs()))]
    if importlib.util.find_spec("datasets") is not None:
        found += [
            Corpus(name=f"hub:{name}", title=title, kind="hub", characters=None)
            for name, (title, _, _) in HUB.items()
        ]
    if settings.corpus_root is not None and settings.corpus_root.is_dir():
        found += list(_files(settings.corpus_root.resolve()))
    return found + texts


def corpus_text(name: str, settings: Settings, read_text: Callable[[str], str]) -> tuple[str, str]:
    """Title and text of a corpus; `read_text(digits)` gives posted texts. Raises CorpusError or UnsafeFile."""
    kind, _, rest = name.partition(":")
    if name == "python-docs":
        return BUILTIN_TITLE, python_docs()
    if kind == "text":
        return f"posted text {rest}", read_text(rest)
    if kind == "file":
        return Path(rest).name, _read_file(
            below_root(settings.corpus_root, rest, ROOT_SETTING, CorpusError), rest
        )
    if kind == "hub" and rest in HUB:
        return HUB[rest][0], _read_hub(rest)
    raise CorpusError(
        f"There is no corpus '{name}'.",
        hint="Such names are: python-docs, hub:wikitext2, hub:c4, file:notes.txt, text:<16 digits>.",
    )


def corpus_fingerprint(text: str) -> str:
    """16 hexadecimal digits of SHA-256 over the text: the identity of a run's corpus."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def python_docs() -> str:
    """The topics of Python's own help, in order of their names: English prose that every Python carries."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def _files(root: Path) -> Iterator[Corpus]:
    found = [
        path for path in sorted(root.rglob("*")) if path.suffix.lower() in {".txt", ".md"} and path.is_file()
    ]
    for path in found[:MOST_FILES]:
        place = path.relative_to(root).as_posix()
        if path.resolve().is_relative_to(root) and not any(
            part.startswith(".") for part in Path(place).parts
        ):
            yield Corpus(name=f"file:{place}", title=place, kind="file", characters=None)


def _read_file(path: Path, name: str) -> str:
    if not path.is_file():
        raise CorpusError(f"'{name}' is not a file.", hint=f"Name a text file below {ROOT_SETTING}.")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise CorpusError(
            f"'{name}' has {size / 2**20:,.0f} MiB; {MAX_FILE_BYTES // 2**20} MiB is the limit.",
            hint="A run needs about five characters a token: cut the file.",
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"'{name}' is not UTF-8 text (byte {error.start:,}).", hint="Convert it to UTF-8."
        ) from error
    except OSError as error:
        raise CorpusError(
            f"'{name}' cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error


def _read_hub(name: str) -> str:
    """The training part through `datasets`, which keeps it in its own cache."""
    if importlib.util.find_spec("datasets") is None:
        raise CorpusError(
            f"'hub:{name}' needs the package 'datasets', which is not installed.",
            hint="Run \"pip install 'wasserscope[hub]'\", or use python-docs.",
        )
    title, repo, options = HUB[name]
    _ensure_reachable(repo)
    import datasets

    try:
        rows = datasets.load_dataset(repo, split="train", **options)
        return _joined(rows)
    except WasserscopeError:
        raise
    except Exception as error:
        raise _unreachable(name, title, error) from error


def _ensure_reachable(repo: str) -> None:
    """Fail at once without a network: `datasets` would try for half a minute. In offline mode its cache is used."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return
    try:
        HfApi().dataset_info(repo, timeout=hub.ANSWER_SECONDS)
    except Exception as error:
        raise _unreachable(repo, repo, error) from error


def _joined(rows: Any) -> str:
    parts, length = [], 0
    for row in rows:
        parts.append(row["text"])
        length += len(row["text"])
        if length >= MAX_HUB_CHARACTERS:
            break
    return "\n".join(parts)


def _unreachable(name: str, title: str, error: Exception) -> CorpusError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CorpusError(
        f"{title} cannot be fetched from the hub ({reason}).",
        hint=f"Connect this machine, or set HF_HUB_OFFLINE=1 if '{name}' was fetched before, or use python-docs.",
    )
