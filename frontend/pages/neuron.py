"""One neuron: distribution, numbers, tokens, provenance."""

from __future__ import annotations

import asyncio
import random

from dash import html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.schemas.distribution import NeuronDistributions
from app.schemas.expansion import ExpertTokens
from app.schemas.layer import LayerSummary
from app.schemas.neuron import NeuronDetail
from frontend import ids, paths, theme
from frontend.components.common import card, column, graph, note, page_title, pair, tabs
from frontend.components.comparison import comparison
from frontend.components.experts import expert_chip, experts_table
from frontend.components.numbers import numbers_table
from frontend.components.provenance import provenance
from frontend.components.tokens import KINDS, token_list
from frontend.figures import effects
from frontend.figures import neuron as figures
from frontend.pages.chosen import Chosen, at_layer, bar, load, results
from frontend.pages.layer import move
from frontend.paths import Place

VIEW = ("y", "tokens", "experts", *paths.VARIANTS)
"""Entries of the query that go with one from neuron to neuron."""


async def page(client: AsyncClient, place: Place) -> Component:
    """The neuron in the address, beside what the chosen pruning and expansion made of it."""
    run = place.run or ""
    neuron, layers, chosen = await asyncio.gather(
        client.neuron(run, place.layer, place.projection, place.index),
        client.layers(run),
        load(client, run, place),
    )
    shown = chosen.compared(place.layer, place.projection)
    changed, experts = await asyncio.gather(_changed(client, place, shown), _experts(client, place, shown))
    expansion = changed.expansion if changed else None
    chips = {p: expert_chip(e) for p, e in (expansion.token_experts if expansion else {}).items()}
    numbers = card("Numbers", numbers_table(neuron), id=ids.NUMBERS)
    made = card("Provenance", provenance(neuron, place.origin, shown.titles, shown.names), id=ids.PROVENANCE)
    return column(
        page_title(
            f"Neuron {place.index} of block {place.layer} · {place.projection}",
            *_moves(run, neuron, layers, place),
            below=bar(chosen),
        ),
        *at_layer(chosen, place),
        _undone(chosen, place),
        pair(
            _distribution(neuron, changed, place),
            numbers
            if changed is None
            else card("Dense, sparse, expanded", comparison(changed, neuron.zero_share), id=ids.COMPARISON),
            kind="wide-left",
        ),
        None if changed is None or expansion is None else _expert_card(changed, experts, place),
        _tokens(neuron, chips, place),
        made if changed is None else pair(made, numbers, kind="wide-left"),
    )


async def _changed(client: AsyncClient, place: Place, shown: Chosen) -> NeuronDistributions | None:
    if not shown.variants:
        return None
    return await client.distributions(
        place.run or "", place.layer, place.projection, place.index, **shown.names
    )


async def _experts(client: AsyncClient, place: Place, shown: Chosen) -> list[ExpertTokens] | None:
    """What goes to each expert; None unless it is looked at."""
    if shown.expansion is None or place.query.get("experts") != "tokens":
        return None
    return await client.experts(place.run or "", shown.expansion.id, place.layer, place.projection)


def _undone(chosen: Chosen, place: Place) -> Component | None:
    """What is chosen and cannot be shown of this neuron, or how to begin."""
    if not chosen.variants and not chosen.unknown:
        words = "Choose a pruning or an expansion above, or make one, to see what it does to this neuron's outputs."
        return html.Section(
            [html.H2("What does sparsity do to this neuron?", className="card-title"), note(words)],
            className="card hint-card",
        )
    return results(chosen, place, lacking_only=True)


def _here(place: Place, **changes: str | None) -> str:
    """This page's address with another view of it."""
    path = paths.neuron_path(place.run or "", place.layer, place.projection, place.index)
    kept: dict[str, str | None] = {key: place.query.get(key) for key in VIEW}
    return paths.with_query(path, kept | changes)


def distribution_title(neuron: NeuronDetail) -> str:
    """WD with the floor it is to be read against."""
    if neuron.wd is None:
        return "Distribution: a constant neuron has no WD"
    floor = theme.number(neuron.provenance.gaussian_floor)
    return f"Distribution: WD {theme.number(neuron.wd)} (floor {floor})"


def _distribution(neuron: NeuronDetail, changed: NeuronDistributions | None, place: Place) -> Component:
    log = place.query.get("y") == "log"
    scale = tabs("y axis", [("linear", _here(place, y=None), not log), ("log", _here(place, y="log"), log)])
    if changed is None:
        plot = graph(
            ids.DISTRIBUTION_GRAPH,
            figures.distribution_figure(neuron, log),
            figures.distribution_summary(neuron),
        )
        words = ""
    else:
        plot = graph(
            ids.DISTRIBUTION_GRAPH,
            effects.overlay_figure(changed, log),
            effects.overlay_summary(changed),
        )
        words = f" All are counted in the same bins. Click a name above to hide it. {effects.beyond(changed)}"
    return card(
        distribution_title(neuron),
        plot,
        note(
            "Dashed: the Gaussian of the same mean and standard deviation. The floor is the WD a true Gaussian "
            f"sample of as many tokens has on average.{words}".rstrip()
        ),
        tools=scale,
        id="distribution",
    )


EXPERT_VIEWS = {"": "each", "stacked": "stacked", "tokens": "tokens"}
"""What the experts' card shows, by the query's entry: a panel for each, all stacked, or what goes to each."""


def _expert_card(changed: NeuronDistributions, experts: list[ExpertTokens] | None, place: Place) -> Component:
    view = place.query.get("experts", "")
    view = view if view in EXPERT_VIEWS else ""
    found = changed.expansion.experts if changed.expansion else []
    items = [
        (title, _here(place, experts=name or None), name == view) for name, title in EXPERT_VIEWS.items()
    ]
    body: list[Component] = []
    if view == "tokens":
        body = [experts_table(experts or [], {expert.expert: expert.wd for expert in found})]
    else:
        stacked = view == "stacked"
        figure = effects.stacked_figure(changed) if stacked else effects.experts_figure(changed)
        body = [
            graph(ids.EXPERTS_GRAPH, figure, effects.experts_summary(changed)),
            note(_experts_note(len(found), stacked)),
        ]
    return card(
        f"Experts: {len(found)}, weighted WD {theme.number(changed.expansion.weighted_wd if changed.expansion else None)}",
        *body,
        tools=tabs("what of the experts", items),
        id=ids.EXPERTS,
    )


def _experts_note(experts: int, stacked: bool) -> str:
    words = (
        "In tokens, one expert on top of the other: together they are the expanded neuron. Blue: the dense outputs."
        if stacked
        else "Each in shares of its own tokens, on the same axes; a peak that leaves the top is that of a cluster with few "
        "or nearly equal outputs. Grey: all dense outputs."
    )
    if experts > effects.MOST_PANELS:
        words += f" The {effects.MOST_PANELS} largest of {experts:,} are drawn."
    return words


def _tokens(neuron: NeuronDetail, chips: dict[int, Component], place: Place) -> Component:
    kind = place.query.get("tokens", "high")
    kind = kind if kind in KINDS else "high"
    items = [
        (title, _here(place, tokens=None if name == "high" else name), name == kind)
        for name, title in KINDS.items()
    ]
    return card(
        "Tokens",
        token_list(getattr(neuron.tokens, kind), chips),
        note("The number in colour is the expert that the token goes to.") if chips else None,
        tools=tabs("which tokens", items),
        id=ids.TOKENS,
    )


def _moves(run: str, neuron: NeuronDetail, layers: list[LayerSummary], place: Place) -> list[Component]:
    query = {key: place.query.get(key) for key in VIEW}
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
