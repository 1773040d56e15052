"""How a neuron is looked at, as the query of its address says: axes, bins, which tokens, which range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from frontend import paths
from frontend.paths import Place

KINDS = {"high": "highest", "low": "lowest", "random": "random", "bands": "by quantile", "range": "range"}
"""Which tokens, by the query's entry."""
STORED = ("bands", "range")
"""Those that need every token's output."""
BINS = (256, 128, 64, 32)
BANDS = (
    (0.0, 0.01),
    (0.01, 0.1),
    (0.1, 0.25),
    (0.25, 0.5),
    (0.5, 0.75),
    (0.75, 0.9),
    (0.9, 0.99),
    (0.99, 1.0),
)
SORTS = {"-value": "highest first", "value": "lowest first", "random": "at random", "position": "in the text"}
PAGE = 25
"""Tokens of a range or band on one page."""
MOST_DRAWS = 2**32 - 1

KEPT = ("y", "x", "bins", "tokens", "band", "low", "high", "sort", "draw", "experts", *paths.VARIANTS)
"""Entries of the query that go with one from neuron to neuron."""


@dataclass(frozen=True)
class View:
    """How a neuron is looked at. What an address says that makes no sense is as if it were not there."""

    log: bool = False
    standard: bool = False
    bins: int = 256
    tokens: str = "high"
    band: int = len(BANDS) - 1
    low: float | None = None
    high: float | None = None
    sort: str = "-value"
    draw: int = 0
    offset: int = 0

    @classmethod
    def read(cls, query: Mapping[str, str]) -> View:
        """From the query of an address."""
        kind = query.get("tokens", "high")
        low, high = _number(query.get("low")), _number(query.get("high"))
        if low is not None and high is not None and low > high:
            low, high = high, low
        sort = query.get("sort", "random" if kind == "bands" else "-value")
        return cls(
            log=query.get("y") == "log",
            standard=query.get("x") == "standard",
            bins=next((n for n in BINS if str(n) == query.get("bins")), BINS[0]),
            tokens=kind if kind in KINDS else "high",
            band=_whole(query.get("band"), len(BANDS) - 1, len(BANDS) - 1),
            low=low,
            high=high,
            sort=sort if sort in SORTS else "-value",
            draw=_whole(query.get("draw"), MOST_DRAWS, 0),
            offset=_whole(query.get("from"), 10**9, 0),
        )

    @property
    def chosen(self) -> tuple[float | None, float | None] | None:
        """The range that is looked at; None where none is."""
        ranged = self.tokens == "range" and (self.low is not None or self.high is not None)
        return (self.low, self.high) if ranged else None


def here(place: Place, **changes: str | None) -> str:
    """This neuron's address with another view of it; `from` begins anew with any change but its own."""
    path = paths.neuron_path(place.run or "", place.layer, place.projection, place.index)
    kept: dict[str, str | None] = {key: place.query.get(key) for key in KEPT}
    return paths.with_query(path, kept | changes)


def end_text(value: float) -> str:
    """An end of a range as it stands in an address: five significant digits."""
    return f"{value:.5g}"


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None


def _whole(text: str | None, most: int, otherwise: int) -> int:
    good = text is not None and text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= most
    return int(text) if good and text is not None else otherwise
