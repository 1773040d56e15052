"""The part of the map that an address names, and the part that a drag over the plot asks for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BLOCKS, RANKS = "blocks", "ranks"
_SPAN = re.compile(r"^([0-9]{1,9})-([0-9]{1,9})$")
_EDGE = re.compile(r"^([xy])axis([0-9]*)\.range\[([01])\]$")

Span = tuple[int, int]


@dataclass(frozen=True)
class Zoom:
    """Blocks and ranks, both ends included; None for all of them."""

    blocks: Span | None = None
    ranks: Span | None = None

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Zoom:
        """The part a query names; what is no span is taken as all."""
        return cls(_span(query.get(BLOCKS)), _span(query.get(RANKS)))

    @property
    def part(self) -> dict[str, int]:
        """The fields of MapQuery."""
        made: dict[str, int] = {}
        for span, name in ((self.blocks, "layer"), (self.ranks, "rank")):
            if span is not None:
                made |= {f"first_{name}": span[0], f"last_{name}": span[1]}
        return made

    @property
    def words(self) -> str:
        """The part, for people."""
        parts = [
            f"{name} {span[0]:,} to {span[1]:,}"
            for span, name in ((self.blocks, "blocks"), (self.ranks, "ranks"))
            if span is not None
        ]
        return ", ".join(parts)


def _span(text: str | None) -> Span | None:
    found = _SPAN.match(text or "")
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    return (first, last) if first <= last else None


def dragged(relayout: Mapping[str, Any] | None, shown: Mapping[str, Any]) -> dict[str, str | None] | None:
    """What a drag, or a double click, changes in the query; None when it leads nowhere else.

    relayout: Plotly's `relayoutData`. shown: `panels` (names of the subplots in order), `log` (whether ranks are
    logarithmic), `blocks` and `ranks` (first and last of what is shown, ranks by panel). A drag along ranks leads into
    its panel: others have other ranks. A double click leads back to the whole.
    """
    if not relayout:
        return None
    if any(key.endswith(".autorange") for key in relayout):
        return {BLOCKS: None, RANKS: None} if shown["zoomed"] else None
    edges: dict[str, dict[int, float]] = {}
    panel = 0
    for key, value in relayout.items():
        found = _EDGE.match(key)
        if found is not None:
            edges.setdefault(found[1], {})[int(found[3])] = float(value)
            panel = max(panel, int(found[2] or 1) - 1) if found[1] == "x" else panel
    changes: dict[str, str | None] = {}
    if len(edges.get("y", {})) == 2:
        blocks = _within(edges["y"][0], edges["y"][1], shown[BLOCKS])
        if blocks != tuple(shown[BLOCKS]):
            changes[BLOCKS] = f"{blocks[0]}-{blocks[1]}"
    if len(edges.get("x", {})) == 2 and panel < len(shown["panels"]):
        name = shown["panels"][panel]
        low, high = (10 ** edges["x"][i] if shown["log"] else edges["x"][i] for i in (0, 1))
        ranks = _within(low, high, shown[RANKS][name])
        if ranks != tuple(shown[RANKS][name]):
            changes |= {RANKS: f"{ranks[0]}-{ranks[1]}", "projection": name}
    return changes or None


def _within(low: float, high: float, shown: Span) -> Span:
    """Whole numbers between two places of an axis, at least one, none beyond what is shown."""
    low, high = min(low, high), max(low, high)
    first, last = math.ceil(low), math.floor(high)
    if first > last:
        first = last = round((low + high) / 2)
    first = min(max(first, shown[0]), shown[1])
    return first, max(first, min(last, shown[1]))
