"""One neuron: distribution, numbers, tokens, provenance."""

from __future__ import annotations

import asyncio
import random

from dash.development.base_component import Component

from app.client import AsyncClient
from app.schemas.layer import LayerSummary
from app.schemas.neuron import NeuronDetail
from frontend import ids, paths, theme
from frontend.components.common import card, column, graph, note, page_title, pair, tabs
from frontend.components.numbers import numbers_table
from frontend.components.provenance import provenance
from frontend.components.tokens import KINDS, token_list
from frontend.figures import neuron as figures
from frontend.pages.layer import move
from frontend.paths import Place


async def page(client: AsyncClient, place: Place) -> Component:
    """The neuron in the address."""
    run = place.run or ""
    neuron, layers = await asyncio.gather(
        client.neuron(run, place.layer, place.projection, place.index), client.layers(run)
    )
    return column(
        page_title(
            f"Neuron {place.index} of block {place.layer} · {place.projection}",
            *_moves(run, neuron, layers, place),
        ),
        pair(
            _distribution(neuron, place),
            card("Numbers", numbers_table(neuron), id=ids.NUMBERS),
            kind="wide-left",
        ),
        _tokens(neuron, place),
        card("Provenance", provenance(neuron, place.origin), id=ids.PROVENANCE),
    )


def _here(place: Place, **changes: str | None) -> str:
    """This page's address with another view of it."""
    path = paths.neuron_path(place.run or "", place.layer, place.projection, place.index)
    kept: dict[str, str | None] = {key: place.query.get(key) for key in ("y", "tokens")}
    return paths.with_query(path, kept | changes)


def distribution_title(neuron: NeuronDetail) -> str:
    """WD with the floor it is to be read against."""
    if neuron.wd is None:
        return "Distribution: a constant neuron has no WD"
    floor = theme.number(neuron.provenance.gaussian_floor)
    return f"Distribution: WD {theme.number(neuron.wd)} (floor {floor})"


def _distribution(neuron: NeuronDetail, place: Place) -> Component:
    log = place.query.get("y") == "log"
    scale = tabs("y axis", [("linear", _here(place, y=None), not log), ("log", _here(place, y="log"), log)])
    return card(
        distribution_title(neuron),
        graph(
            ids.DISTRIBUTION_GRAPH,
            figures.distribution_figure(neuron, log),
            figures.distribution_summary(neuron),
        ),
        note(
            "Dashed: the Gaussian of the same mean and standard deviation. The floor is the WD a true Gaussian "
            "sample of as many tokens has on average."
        ),
        tools=scale,
        id="distribution",
    )


def _tokens(neuron: NeuronDetail, place: Place) -> Component:
    kind = place.query.get("tokens", "high")
    kind = kind if kind in KINDS else "high"
    items = [
        (title, _here(place, tokens=None if name == "high" else name), name == kind)
        for name, title in KINDS.items()
    ]
    return card(
        "Tokens", token_list(getattr(neuron.tokens, kind)), tools=tabs("which tokens", items), id=ids.TOKENS
    )


def _moves(run: str, neuron: NeuronDetail, layers: list[LayerSummary], place: Place) -> list[Component]:
    query = {key: place.query.get(key) for key in ("y", "tokens")}
    last = {layer.layer: layer.neurons - 1 for layer in layers if layer.projection == place.projection}
    before = max((depth for depth in last if depth < place.layer), default=None)
    after = min((depth for depth in last if depth > place.layer), default=None)

    def address(layer: int | None, index: int) -> str | None:
        if layer is None or not 0 <= index <= last.get(layer, neuron.layer_neurons - 1):
            return None
        return paths.with_query(paths.neuron_path(run, layer, place.projection, index), query)

    previous, following = address(place.layer, place.index - 1), address(place.layer, place.index + 1)
    lower, upper = address(before, place.index), address(after, place.index)
    anyone = address(place.layer, random.randrange(neuron.layer_neurons))
    return [
        move(
            "‹" if previous is None else f"‹ {place.index - 1}",
            previous,
            ids.NAV_PREVIOUS,
            "previous neuron (left arrow)",
        ),
        move(
            "›" if following is None else f"{place.index + 1} ›",
            following,
            ids.NAV_NEXT,
            "next neuron (right arrow)",
        ),
        move("random", anyone, ids.NAV_RANDOM, "random neuron of this layer (r)"),
        move(
            "↓ block" if lower is None else f"↓ block {before}",
            lower,
            ids.NAV_DOWN,
            "block before with this index (down arrow)",
        ),
        move(
            "↑ block" if upper is None else f"↑ block {after}",
            upper,
            ids.NAV_UP,
            "block after with this index (up arrow)",
        ),
    ]
