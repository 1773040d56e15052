"""The CSV file of each card of a neuron's page, asked of the service anew: all of it, not what fits on the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from app.client import AsyncClient
from app.schemas.distribution import NeuronDistributions
from app.schemas.neuron import NeuronDetail
from frontend import tables
from frontend.neuron_view import STORED, View
from frontend.pages.chosen import load
from frontend.pages.neuron_tokens import wanted
from frontend.paths import Place
from frontend.tables import Row

MOST = 1000
"""Tokens of a range and pairs of a file; the REST API pages through more."""


async def download(client: AsyncClient, card: str, place: Place, *, stored: bool) -> tuple[str, str]:
    """Name and text of a card's CSV file. Raises what the client does."""
    asking = _Asking(client, place, stored)
    rows = await _CARDS[card](asking)
    name = f"block-{place.layer}-{place.projection}-neuron-{place.index}-{card}.csv"
    return name, tables.csv_text(rows)


class _Asking:
    """What the page at a place shows, asked for piece by piece."""

    def __init__(self, client: AsyncClient, place: Place, stored: bool) -> None:
        self.client, self.place, self.stored = client, place, stored
        self.address = (place.run or "", place.layer, place.projection, place.index)

    async def neuron(self) -> NeuronDetail:
        return await self.client.neuron(*self.address)

    async def changed(self) -> NeuronDistributions | None:
        chosen = await load(self.client, self.place.run or "", self.place)
        shown = chosen.compared(self.place.layer, self.place.projection)
        return await self.client.distributions(*self.address, **shown.names) if shown.variants else None

    async def distribution(self) -> Sequence[Row]:
        return tables.distribution_rows(await self.changed() or await self.neuron())

    async def comparison(self) -> Sequence[Row]:
        found = await self.changed()
        return tables.comparison_rows(found) if found else []

    async def experts(self) -> Sequence[Row]:
        found = await self.changed()
        if found is None or found.expansion is None:
            return []
        if self.place.query.get("experts") != "tokens":
            return tables.expert_rows(found)
        run, layer, projection, _ = self.address
        return tables.expert_token_rows(
            await self.client.experts(run, found.expansion.variant, layer, projection)
        )

    async def numbers(self) -> Sequence[Row]:
        interval = await self.client.wd_interval(*self.address) if self.stored else None
        return tables.number_rows(await self.neuron(), interval)

    async def tokens(self) -> Sequence[Row]:
        view = View.read(self.place.query)
        if view.tokens in STORED:
            chosen = await load(self.client, self.place.run or "", self.place)
            asked = wanted(view, self.place, chosen.compared(self.place.layer, self.place.projection))
            given: Mapping[str, Any] = asked.given if asked else {}
            found = await self.client.tokens(*self.address, **{**given, "limit": MOST, "offset": 0})
            return tables.token_rows(found.items)
        changed = await self.changed()
        experts = changed.expansion.token_experts if changed and changed.expansion else {}
        return tables.token_rows(getattr((await self.neuron()).tokens, view.tokens), experts)

    async def pairs(self) -> Sequence[Row]:
        return tables.pair_rows(await self.client.pairs(*self.address, points=5 * MOST))


_CARDS: Mapping[str, Callable[[_Asking], Awaitable[Sequence[Row]]]] = {
    "distribution": _Asking.distribution,
    "comparison": _Asking.comparison,
    "experts": _Asking.experts,
    "numbers": _Asking.numbers,
    "tokens": _Asking.tokens,
    "pairs": _Asking.pairs,
}
