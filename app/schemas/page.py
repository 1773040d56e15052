"""A page of a list."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, Field

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list with a stable order."""

    items: list[Item] = Field(description="The entries of this page.")
    total: int = Field(description="Entries over all pages.", examples=[3648])
    limit: int = Field(description="Most entries on this page.", examples=[50])
    offset: int = Field(description="Entries left out before this page.", examples=[0])
