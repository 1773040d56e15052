"""Names of corpora to texts, and what is refused on the way."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest

from app import catalog
from app.catalog import texts
from app.errors import CorpusError, UnsafeFile
from app.schemas.corpus import Corpus
from app.settings import Settings


def no_text(digest: str) -> str:
    raise AssertionError(f"nobody asked for {digest}")


def text_of(name: str, root: Path | None = None) -> tuple[str, str]:
    return catalog.corpus_text(name, Settings(corpus_root=root), no_text)


def test_pythons_documentation_is_built_in_and_always_the_same() -> None:
    title, text = text_of("python-docs")
    assert "Python" in title
    assert len(text) > 300_000
    assert text_of("python-docs")[1] == text


def test_posted_texts_come_through_the_reader() -> None:
    assert catalog.corpus_text("text:0123456789abcdef", Settings(), lambda digest: f"text of {digest}") == (
        "posted text 0123456789abcdef",
        "text of 0123456789abcdef",
    )


def test_a_file_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "notes.txt").write_text("Naïve – 日本語", encoding="utf-8")
    assert text_of("file:sub/notes.txt", tmp_path) == ("notes.txt", "Naïve – 日本語")


def test_without_a_root_the_setting_is_named() -> None:
    with pytest.raises(CorpusError, match="no folder is configured") as caught:
        text_of("file:notes.txt")
    assert "WASSERSCOPE_CORPUS_ROOT" in caught.value.hint


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "a/../../secret.txt"])
def test_names_that_leave_the_root_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    with pytest.raises(UnsafeFile, match="is not a path below the configured folder"):
        text_of(f"file:{name}", tmp_path / "root")


def test_a_symbolic_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "root" / "link.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UnsafeFile, match="leads out of the configured folder"):
        text_of("file:link.txt", tmp_path / "root")


def test_unknown_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CorpusError, match=r"There is no 'nothing\.txt' below WASSERSCOPE_CORPUS_ROOT"):
        text_of("file:nothing.txt", tmp_path)
    with pytest.raises(CorpusError, match="'folder' is not a file"):
        text_of("file:folder", tmp_path)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 society")
    with pytest.raises(CorpusError, match=r"'latin\.txt' is not UTF-8 text \(byte 3\)"):
        text_of("file:latin.txt", tmp_path)


def test_a_file_above_the_limit(tmp_path: Path) -> None:
    with (tmp_path / "huge.txt").open("wb") as stream:
        stream.truncate(texts.MAX_FILE_BYTES + 1)  # sparse: takes no space
    with pytest.raises(CorpusError, match=r"'huge\.txt' has 512 MiB; 512 MiB is the limit"):
        text_of("file:huge.txt", tmp_path)


@pytest.mark.parametrize("name", ["nothing", "hub:pile", "url:x"])
def test_names_of_no_known_form(name: str) -> None:
    with pytest.raises(CorpusError, match=f"There is no corpus '{name}'") as caught:
        text_of(name)
    assert "python-docs" in caught.value.hint


def test_hub_corpora_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "datasets" else found(name, *rest)
    )
    with pytest.raises(CorpusError, match="needs the package 'datasets', which is not installed") as caught:
        text_of("hub:wikitext2")
    assert "wasserscope[hub]" in caught.value.hint
    assert not any(corpus.kind == "hub" for corpus in catalog.corpora(Settings(), []))


@pytest.mark.parametrize("name", ["wikitext2", "c4"])
def test_hub_corpora_out_of_reach_fail_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unreachable:
        def dataset_info(self, repo: str, timeout: float) -> None:
            assert timeout <= 5
            raise ConnectionError(f"no route to {repo}")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi", Unreachable)
    start = time.monotonic()
    with pytest.raises(CorpusError, match="cannot be fetched from the hub") as caught:
        text_of(f"hub:{name}")
    assert time.monotonic() - start < 2
    assert "python-docs" in caught.value.hint


def test_hub_corpora_are_read_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load_dataset(*args: Any, **options: Any) -> Any:
        asked.append((args, options))
        return datasets.Dataset.from_dict({"text": ["= Title =", "", "A sentence."]})

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    title, text = text_of("hub:wikitext2")
    assert (title, text) == ("WikiText-2 (training part)", "= Title =\n\nA sentence.")
    assert asked == [(("Salesforce/wikitext",), {"split": "train", "name": "wikitext-2-raw-v1"})]


def test_the_list_has_every_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / ".hidden.txt").write_text("hidden")
    (tmp_path / "binary.bin").write_text("binary")
    (tmp_path / "out.txt").symlink_to("/etc/hostname")
    posted = Corpus(name="text:0123456789abcdef", title="mine", kind="text", characters=5)
    found = catalog.corpora(Settings(corpus_root=tmp_path), [posted])
    assert [corpus.name for corpus in found] == [
        "python-docs",
        "hub:wikitext2",
        "hub:c4",
        "file:notes.txt",
        "text:0123456789abcdef",
    ]
    assert found[0].characters == len(text_of("python-docs")[1])


def test_fingerprints_tell_texts_apart() -> None:
    assert catalog.corpus_fingerprint("a") != catalog.corpus_fingerprint("b")
    assert len(catalog.corpus_fingerprint("\ud800 lone surrogate")) == 16
