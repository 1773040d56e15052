"""From a corpus' text to windows of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.errors import CorpusError

CHARACTERS_PER_TOKEN = 8
"""First guess of how much text is needed; English has four or five."""
MARGIN_TOKENS = 64
"""Tokens at the end of a cut text that are not used: the cut may have changed them."""


@dataclass(frozen=True)
class TokenWindows:
    """A run's tokens.

    `ids` (n,) int64; `windows`: consecutive views of it, all of the same length, the last perhaps shorter; `pieces`:
    the text of each token. Joined, the pieces are the text; a token that ends inside a character has an empty piece.
    """

    ids: Tensor
    windows: list[Tensor]
    pieces: list[str]


def token_windows(text: str, tokenizer: Any, tokens: int, window: int) -> TokenWindows:
    """The first `tokens` tokens of `text` in windows of `window`; no special tokens, no padding.

    `tokenizer` is a fast one of transformers. Raises CorpusError when the text is too short.
    """
    ids, ends = _encode(text, tokenizer, tokens)
    if len(ids) < min(tokens, window):
        raise CorpusError(
            f"The text has {len(ids):,} tokens, one window has {window:,}.",
            hint="Use a longer text or a shorter window.",
        )
    if len(ids) < tokens:
        raise CorpusError(
            f"The text has {len(ids):,} tokens, {tokens:,} were asked for.",
            hint=f"Ask for at most {len(ids):,} tokens, or use a longer text.",
        )
    kept = torch.tensor(ids[:tokens], dtype=torch.int64)
    return TokenWindows(
        kept, [kept[i : i + window] for i in range(0, tokens, window)], _pieces(text, ends[:tokens])
    )


def end_windows(text: str, tokenizer: Any, tokens: int, window: int, *, after: int = 0) -> TokenWindows:
    """The last `tokens` tokens of `text` in windows of `window`: held-out text, as `token_windows` takes the first.

    after: tokens at the start that they must not overlap. Raises CorpusError when the text is too short.
    """
    encoding = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    ids, ends = encoding["input_ids"], [end for _, end in encoding["offset_mapping"]]
    if len(ids) < after + tokens:
        used = f", of which the first {after:,} calibrated the run" if after else ""
        raise CorpusError(
            f"The text has {len(ids):,} tokens{used}; {tokens:,} were asked for from its end.",
            hint=f"Ask for at most {max(0, len(ids) - after):,} tokens, or name another corpus: text that was calibrated "
            "on says little about a model.",
        )
    kept = torch.tensor(ids[-tokens:], dtype=torch.int64)
    pieces = _pieces(text, ends)[-tokens:]
    return TokenWindows(kept, [kept[i : i + window] for i in range(0, tokens, window)], pieces)


def _encode(text: str, tokenizer: Any, tokens: int) -> tuple[list[int], list[int]]:
    """Token ids, at least `tokens` if the text has them, and where in the text each ends.

    Of a long text only a start is encoded, cut at the end of a line and with tokens to spare.
    """
    length = tokens * CHARACTERS_PER_TOKEN + 4096
    while True:
        whole = length >= len(text)
        cut = len(text) if whole else text.rfind("\n", 0, length) + 1 or length
        encoding = tokenizer(
            text[:cut],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        ids = encoding["input_ids"]
        if whole or len(ids) >= tokens + MARGIN_TOKENS:
            return ids, [end for _, end in encoding["offset_mapping"]]
        length *= 2


def _pieces(text: str, ends: list[int]) -> list[str]:
    """The text between the ends of one token and the next: whitespace that a tokenizer leaves out included."""
    pieces, start = [], 0
    for end in ends:
        pieces.append(text[start : max(start, end)])
        start = max(start, end)
    return pieces
