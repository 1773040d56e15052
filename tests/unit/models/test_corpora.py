"""Text to windows of tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog.texts import python_docs
from app.errors import CorpusError
from tests.unit.tiny import tiny_tokenizer
from worker import corpora
from worker.corpora import token_windows

TEXT = "The quick brown fox jumps over the lazy dog.\nNaïve café – 日本語 🦊 text.\n\n" * 20


def test_tokens_are_the_tokenizers_own_without_special_ones() -> None:
    found = token_windows(TEXT, tiny_tokenizer(), 300, 64)
    assert found.ids.tolist() == tiny_tokenizer()(TEXT, add_special_tokens=False)["input_ids"][:300]
    assert found.ids.dtype == torch.int64


def test_windows_follow_each_other_and_only_the_last_is_shorter() -> None:
    found = token_windows(TEXT, tiny_tokenizer(), 300, 64)
    assert [len(window) for window in found.windows] == [64, 64, 64, 64, 44]
    assert torch.equal(torch.cat(found.windows), found.ids)


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_pieces_joined_are_the_text(text: str) -> None:
    tokens = len(tiny_tokenizer()(text, add_special_tokens=False)["input_ids"])
    found = token_windows(text, tiny_tokenizer(), tokens, tokens)
    assert len(found.pieces) == tokens
    assert "".join(found.pieces) == text


def test_a_token_that_ends_inside_a_character_has_an_empty_piece() -> None:
    found = token_windows("🦊", tiny_tokenizer(), 4, 4)
    assert found.pieces == ["🦊", "", "", ""]


def test_of_a_long_text_only_the_start_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = python_docs()
    lengths: list[int] = []
    tokenizer = tiny_tokenizer()

    def watched(part: str, **options: object) -> object:
        lengths.append(len(part))
        return tokenizer(part, **options)

    found = token_windows(text, watched, 2000, 512)
    assert max(lengths) < 25_000 < len(text)
    monkeypatch.setattr(corpora, "CHARACTERS_PER_TOKEN", len(text))
    assert torch.equal(found.ids, token_windows(text, tokenizer, 2000, 512).ids)


def test_the_start_is_taken_longer_when_tokens_are_long() -> None:
    class Words:
        def __call__(self, text: str, **_: object) -> dict[str, list[object]]:
            """One token for each forty characters."""
            ends = [*range(40, len(text), 40), len(text)]
            return {"input_ids": list(range(len(ends))), "offset_mapping": [(0, end) for end in ends]}

    text = "".join(f"{i:039d}\n" for i in range(3000))
    found = token_windows(text, Words(), 2000, 500)
    assert found.ids.tolist() == list(range(2000))
    assert "".join(found.pieces) == text[:80_000]


def test_too_few_tokens_are_refused_with_both_numbers() -> None:
    with pytest.raises(CorpusError, match=r"The text has [\d,]+ tokens, 200,000 were asked for") as caught:
        token_windows(TEXT, tiny_tokenizer(), 200_000, 512)
    assert "Ask for at most" in caught.value.hint


def test_too_few_for_one_window_are_refused() -> None:
    with pytest.raises(CorpusError, match=r"The text has \d+ tokens, one window has 512"):
        token_windows("Hello there.", tiny_tokenizer(), 8192, 512)


def test_fewer_tokens_than_a_window_may_be_asked_for() -> None:
    found = token_windows(TEXT, tiny_tokenizer(), 100, 512)
    assert [len(window) for window in found.windows] == [100]
