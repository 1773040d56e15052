"""What is pinned beside what is looked at: two neurons, two layers or two runs, under the head of the second one's page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from dash import html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import WasserscopeError
from app.schemas.difference import NeuronDifference
from app.schemas.layer import LayerSummary, RunMap
from app.schemas.page import Page
from app.schemas.run import Run, RunState
from frontend import ids, paths
from frontend.components.common import card, error_of, graph, note, pair, tabs
from frontend.components.compare import layer_numbers, legend, moved_table, neuron_numbers, pager
from frontend.components.pin import KINDS, words
from frontend.figures import compare as figures
from frontend.pages.map import newest
from frontend.paths import Place

MAP_BINS, MAP_CELLS = 256, 100_000
ROWS = 20
ORDERS = {
    "": ("-distance", "moved most"),
    "up": ("-moved", "up here"),
    "down": ("moved", "down here"),
    "gained": ("-difference", "more WD here"),
    "lost": ("difference", "less WD here"),
}
"""Orders of the table of neurons, by the query's entry: the API's sort, and words."""


async def beside(client: AsyncClient, place: Place) -> Component | None:
    """The comparison of the page's neuron, layer or run with the pinned one; None where there is nothing to compare."""
    pinned = paths.read_pin(place.query.get(paths.PIN))
    if pinned is None or place.page not in KINDS:
        return None
    try:
        if place.page == "map" and place.run is None:
            shown = newest((await client.runs()).items)
            place = Place("map", shown.id if shown else None, query=place.query, path=place.path)
        if pinned.page != place.page or paths.pin_of(pinned) == paths.pin_of(place):
            return None
        return await {"neuron": _neurons, "layer": _layers, "map": _runs}[place.page](client, place, pinned)
    except WasserscopeError as error:
        return _card([error_of(error), note("Unpin it above, or pin another one.")])


def _card(parts: Sequence[Component | None]) -> Component:
    body = [part for part in parts if part is not None]
    return html.Div(card("Beside what is pinned", *body), id=ids.COMPARE, className="compare-card")


async def _neurons(client: AsyncClient, place: Place, pinned: Place) -> Component:
    own, other = await asyncio.gather(
        client.neuron(place.run or "", place.layer, place.projection, place.index),
        client.neuron(pinned.run or "", pinned.layer, pinned.projection, pinned.index),
    )
    raw = place.query.get("scale") == "raw"
    scale = tabs(
        "scale",
        [
            ("standardised", _here(place, scale=None), not raw),
            ("raw", _here(place, scale="raw"), raw),
        ],
    )
    same_layer = (place.run, place.layer, place.projection) == (pinned.run, pinned.layer, pinned.projection)
    constant = [name for name, one in (("this", own), ("the pinned one", other)) if one.constant]
    summary = f"Distributions of {words(place)} and of {words(pinned)} on the same axes."
    return _card(
        [
            legend(_named(place, pinned), _named(pinned, place)),
            scale,
            pair(
                html.Div(
                    [
                        graph(ids.COMPARE_GRAPH, figures.neurons_figure(own, other, raw), summary),
                        note(f"Constant, and not drawn: {' and '.join(constant)}.") if constant else None,
                    ]
                ),
                neuron_numbers(own, other, same_layer),
                kind="wide-left",
            ),
        ]
    )


async def _layers(client: AsyncClient, place: Place, pinned: Place) -> Component:
    own, other = await asyncio.gather(
        client.layer(place.run or "", place.layer, place.projection),
        client.layer(pinned.run or "", pinned.layer, pinned.projection),
    )
    apart = figures.quantile_difference(own, other)
    middle = apart[len(apart) // 2]
    middle_words = "no WD to compare" if np.isnan(middle) else f"{middle:+.3g} at the median"
    return _card(
        [
            legend(_named(place, pinned), _named(pinned, place)),
            pair(
                graph(
                    ids.COMPARE_GRAPH,
                    figures.layers_figure(own, other),
                    f"WD of the neurons of {words(place)} and of {words(pinned)}, in the same bins.",
                ),
                graph(
                    ids.COMPARE_QUANTILES,
                    figures.quantiles_figure(own, other),
                    f"Quantiles of WD, this layer's less the pinned one's: {middle_words}.",
                ),
            ),
            layer_numbers(own.summary, other.summary),
        ]
    )


async def _runs(client: AsyncClient, place: Place, pinned: Place) -> Component:
    own, other = await asyncio.gather(client.run(place.run or ""), client.run(pinned.run or ""))
    unfinished = [run for run in (own, other) if run.state is not RunState.finished]
    if unfinished:
        return _card([note(f"Run {unfinished[0].id} is not finished: there is nothing to compare yet.")])
    layers, others = await asyncio.gather(client.layers(own.id), client.layers(other.id))
    parts: list[Component | None] = [legend(_run_words(own), _run_words(other))]
    try:
        moved = await _moved(client, own, other, place)
        bins = max(1, min(MAP_BINS, MAP_CELLS // max(1, len(layers))))
        maps = await asyncio.gather(client.map(own.id, bins=bins), client.map(other.id, bins=bins))
    except WasserscopeError as error:  # other shapes: the depths still compare
        parts += [error_of(error), _trends(layers, others)]
        return _card(parts)
    return _card([*parts, _map(*maps), _trends(layers, others), *_table(moved, own, other, place)])


async def _moved(client: AsyncClient, own: Run, other: Run, place: Place) -> Page[NeuronDifference]:
    sort, _ = ORDERS.get(place.query.get("order", ""), ORDERS[""])
    start = place.query.get("from", "0")
    offset = int(start) if start.isascii() and start.isdigit() and len(start) < 10 else 0
    return await client.differences(own.id, other.id, sort=sort, limit=ROWS, offset=offset)


def _map(own: RunMap, other: RunMap) -> Component:
    summary = "Differences of WD between neurons of equal rank, layer by layer."
    return html.Div(
        [
            graph(ids.COMPARE_MAP, figures.differences_figure(own, other), summary),
            note(
                "WD of the neurons of equal rank in this run, less that in the pinned one; 0 is grey. Neurons of equal rank "
                "are seldom the same: the table below follows each neuron. Colours reach as far as 99 % of the cells."
            ),
        ]
    )


def _trends(layers: list[LayerSummary], others: list[LayerSummary]) -> Component:
    figure = figures.trends_figure(layers, others)
    return graph(ids.COMPARE_TREND, figure, "Median WD by depth in both runs, a panel for each projection.")


def _table(moved: Page[NeuronDifference], own: Run, other: Run, place: Place) -> list[Component]:
    order = place.query.get("order", "")
    order = order if order in ORDERS else ""
    items = [
        (title, _here(place, order=name or None, **{"from": None}), name == order)
        for name, (_, title) in ORDERS.items()
    ]
    steps = pager(moved, lambda offset: _here(place, **{"from": str(offset) if offset else None}))
    pin = place.query.get(paths.PIN)
    return [
        html.Div(
            [
                html.H3("Neurons by what became of them", className="card-title"),
                tabs("order of the neurons", items),
            ],
            className="row between",
        ),
        moved_table(moved.items, own.id, other.id, pin),
        steps,
        note(
            "Ranks are by WD within a layer, from 1; up means nearer the top in this run. Both runs' WD depend on their "
            "text and number of tokens."
        ),
    ]


def _named(place: Place, beside: Place) -> str:
    """A neuron or a layer in words, with its run where the two are of different runs."""
    return words(place) if place.run == beside.run else f"{words(place)} of {place.run}"


def _run_words(run: Run) -> str:
    corpus = run.corpus_title or run.request.corpus
    return f"{run.model.title} / {corpus} / {run.tokens:,} tokens ({run.id})"


def _here(place: Place, **changes: str | None) -> str:
    old: dict[str, str | None] = dict(place.query)
    return paths.with_query(place.path, old | changes)
