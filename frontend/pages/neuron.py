"""One neuron: distribution, numbers, tokens, pairs, provenance."""

from __future__ import annotations

import asyncio
import random

from dash import dcc, html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.schemas.distribution import NeuronDistributions
from app.schemas.expansion import ExpertTokens
from app.schemas.layer import LayerSummary
from app.schemas.neuron import NeuronDetail
from app.schemas.outputs import NeuronOutputs, NeuronPairs
from app.schemas.run import Run
from frontend import ids, paths
from frontend.components.common import card, column, link, note, page_title, pair
from frontend.components.comparison import comparison
from frontend.components.exports import export_menu
from frontend.components.numbers import numbers_table
from frontend.components.outputs import follower
from frontend.components.provenance import provenance
from frontend.components.steps import NeuronSteps, step
from frontend.neuron_view import KEPT, View
from frontend.pages.chosen import Chosen, at_layer, bar, load, results
from frontend.pages.neuron_cards import Seen, distribution_card, expert_card, pairs_card
from frontend.pages.neuron_tokens import tokens_card, wanted
from frontend.paths import Place
from frontend.queries import Query


async def page(client: AsyncClient, place: Place) -> Component:
    """The neuron in the address, beside what the chosen pruning and expansion made of it."""
    name, view = place.run or "", View.read(place.query)
    neuron, layers, run, outputs, chosen = await asyncio.gather(
        client.neuron(name, place.layer, place.projection, place.index),
        client.layers(name),
        client.run(name),
        client.outputs(name, place.layer, place.projection),
        load(client, name, place),
    )
    shown = chosen.compared(place.layer, place.projection)
    asked = wanted(view, place, shown) if outputs.stored else None
    changed, experts, tokens, pairs = await asyncio.gather(
        _changed(client, place, shown),
        _experts(client, place, shown),
        _tokens(client, asked),
        _pairs(client, place, shown) if outputs.stored else asyncio.sleep(0),
    )
    seen = Seen(place, view, neuron, outputs, shown, changed)
    return column(
        page_title(
            f"Neuron {place.index} of block {place.layer} · {place.projection}",
            *_moves(name, neuron, layers, place),
            below=bar(chosen),
        ),
        *at_layer(chosen, place),
        _undone(chosen, place),
        *_cards(seen, run, experts, tokens, pairs or None),
        html.Div([*follower(outputs), _place(seen), dcc.Download(id=ids.DOWNLOAD)]),
    )


def _cards(
    seen: Seen,
    run: Run,
    experts: list[ExpertTokens] | None,
    tokens: NeuronOutputs | None,
    pairs: NeuronPairs | None,
) -> list[Component]:
    """All cards, below each other."""
    changed, origin = seen.changed, seen.place.origin
    inputs = next((p.in_features for p in run.model.projections if p.name == seen.place.projection), 0)
    numbers = card(
        "Numbers",
        numbers_table(seen.neuron, inputs, seen.outputs.stored, changed.ri if changed else None),
        tools=export_menu("numbers", seen.query("neuron"), origin),
        id=ids.NUMBERS,
    )
    made = card(
        "Provenance",
        provenance(seen.neuron, run, seen.outputs, seen.chosen.titles, seen.distribution, origin),
        id=ids.PROVENANCE,
    )
    if changed is None:
        first, last = numbers, made
    else:
        first = card(
            "Dense, sparse, expanded",
            comparison(changed, seen.neuron.zero_share),
            tools=export_menu("comparison", seen.distribution, origin),
            id=ids.COMPARISON,
        )
        last = pair(made, numbers, kind="wide-left")
    parts = [
        html.Div(id=ids.DOWNLOAD_ERROR),
        pair(distribution_card(seen), first, kind="wide-left"),
        expert_card(seen, changed, experts)
        if changed is not None and changed.expansion is not None
        else None,
        tokens_card(seen, tokens),
        pairs_card(seen, pairs),
        last,
    ]
    return [part for part in parts if part is not None]


def _place(seen: Seen) -> Component:
    """What the callbacks of this page need to know."""
    data = {
        "stored": seen.outputs.stored,
        "expansion": seen.chosen.names["expansion"],
        "mean": seen.neuron.mean,
        "std": seen.neuron.std,
        "standard": seen.view.standard,
    }
    return dcc.Store(id=ids.NEURON_PLACE, data=data)


async def _pairs(client: AsyncClient, place: Place, shown: Chosen) -> NeuronPairs:
    expansion = shown.names["expansion"]
    return await client.pairs(
        place.run or "", place.layer, place.projection, place.index, expansion=expansion
    )


async def _tokens(client: AsyncClient, asked: Query | None) -> NeuronOutputs | None:
    if asked is None:
        return None
    run, layer, projection, index = asked.args
    return await client.tokens(str(run), int(layer), str(projection), int(index), **asked.given)


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


def _moves(run: str, neuron: NeuronDetail, layers: list[LayerSummary], place: Place) -> list[Component]:
    query = {key: place.query.get(key) for key in KEPT}

    def address(layer: int, index: int) -> str:
        return paths.with_query(paths.neuron_path(run, layer, place.projection, index), query)

    steps = NeuronSteps(place, layers, address)
    anyone = address(place.layer, random.randrange(neuron.layer_neurons))
    sweep = paths.with_query(
        paths.sweep_path(run, place.layer, place.projection, place.index), paths.variants(place.query)
    )
    return [
        link("Sweep", sweep, id=ids.SWEEP_LINK, className="button"),
        *steps.beside(),
        step("random", anyone, ids.NAV_RANDOM, "random neuron of this layer (r)"),
        *steps.across(),
    ]
