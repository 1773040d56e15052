"""Corpora: the text whose tokens are run through a model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

CORPUS_PATTERN = r"^(python-docs|hub:(wikitext2|c4)|file:[^\x00]+|text:[0-9a-f]{16})$"


class Corpus(BaseModel):
    """A text that can be named in a request."""

    name: str = Field(description="What to put into a request.", examples=["python-docs"])
    title: str = Field(description="Name for people.", examples=["Python's language reference (built in)"])
    kind: Literal["builtin", "hub", "file", "text"] = Field(
        description="Kind of source.", examples=["builtin"]
    )
    characters: int | None = Field(
        None, description="Its length, when known without a download.", examples=[465_000]
    )


class CorpusText(BaseModel):
    """Text posted to be used as a corpus."""

    text: str = Field(min_length=1, description="The text itself.", examples=["Call me Ishmael. ..."])
    title: str = Field("posted text", max_length=120, description="Name for people.", examples=["Moby-Dick"])
