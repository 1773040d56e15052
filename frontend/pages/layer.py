"""One layer: every neuron as a cell, the ranked table beside it, the histogram of WD."""

from __future__ import annotations

import asyncio

from dash import dcc, html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.schemas.layer import LayerSummary, LayerValues, Metric
from app.schemas.run import Run
from frontend import ids, paths, theme
from frontend.components.common import (
    card,
    column,
    graph,
    link,
    note,
    page_title,
    pair,
    tabs,
    tile,
    view_select,
)
from frontend.components.neuron_grid import neuron_grid
from frontend.components.variants import DONE, undone_metric
from frontend.figures import layer as figures
from frontend.figures import metrics
from frontend.pages.chosen import Chosen, at_layer, bar, kind_of, load, results
from frontend.paths import Place


async def page(client: AsyncClient, place: Place) -> Component:
    """The layer in the address, coloured by the metric in the query."""
    run_id = place.run or ""
    run, layers, chosen = await asyncio.gather(
        client.run(run_id), client.layers(run_id), load(client, run_id, place)
    )
    colour = metrics.named(place.query.get("colour"))
    asked = Metric.wd if metrics.lacking(colour, chosen.kinds) else colour
    values = await client.layer(
        run_id,
        place.layer,
        place.projection,
        [str(metric) for metric in figures.wanted(asked, chosen.kinds)],
        **chosen.names,
    )
    return column(
        page_title(
            f"Block {place.layer} · {place.projection}", *_moves(run_id, layers, place), below=bar(chosen)
        ),
        *at_layer(chosen, place),
        _tiles(run, values.summary),
        results(chosen, place),
        pair(
            _grid(values, colour, chosen),
            card(
                "Ranked",
                *neuron_grid(run_id, place.layer, place.projection, **chosen.names),
                note("Click a row to open the neuron."),
            ),
        ),
        _histogram(run, values),
        dcc.Store(
            id=ids.LAYER_PLACE,
            data={
                "run": run_id,
                "layer": place.layer,
                "projection": place.projection,
                "neurons": values.neurons,
            },
        ),
    )


def _grid(values: LayerValues, colour: Metric, chosen: Chosen) -> Component:
    missing = metrics.lacking(colour, chosen.kinds)
    undone = [
        DONE[kind_of(variant)]
        for variant in chosen.undone(values.layer, values.projection)
        if kind_of(variant) in colour.needs
    ]
    if missing:
        body = [undone_metric(missing)]
    else:
        blank = f"not {' and not '.join(undone)} yet" if undone else ""
        words = f" Grey: the layer is {blank}, so {theme.LABELS[colour]} has no values." if blank else ""
        figure = figures.grid_figure(values, colour, blank)
        body = [
            graph(ids.LAYER_GRAPH, figure, figures.grid_summary(values, colour)),
            note(_grid_note(colour) + words),
        ]
    tools = view_select("colour", "colour", metrics.choices(chosen.kinds), str(colour), wide=True)
    return card("All neurons", *body, tools=tools)


def _grid_note(colour: Metric) -> str:
    text = "Cells are in the order of the neurons' index, row by row. Click one to open the neuron."
    return " ".join([text, metrics.EXPLANATIONS.get(colour, "")]).strip()


def _histogram(run: Run, values: LayerValues) -> Component:
    figure = figures.histogram_figure(values, run.gaussian_floor, run.request.top_share)
    return card(
        "WD of this layer", graph(ids.LAYER_HISTOGRAM, figure, figures.histogram_summary(values.summary))
    )


def _tiles(run: Run, summary: LayerSummary) -> Component:
    share = f"top {100 * run.request.top_share:.3g} % from"
    return html.Div(
        [
            tile("neurons", theme.count(summary.neurons)),
            tile("median WD", theme.number(summary.wd_median), str(summary.wd_median)),
            tile("largest WD", theme.number(summary.wd_max), str(summary.wd_max)),
            tile(share, theme.number(summary.threshold), str(summary.threshold)),
            tile("Wasserstein neurons", theme.count(summary.wasserstein)),
            tile("above the floor", theme.count(summary.above_floor), f"Gaussian floor {run.gaussian_floor}"),
            tile("constant", theme.count(summary.constant)),
        ],
        id=ids.TILES,
        className="tiles",
    )


def _moves(run: str, layers: list[LayerSummary], place: Place) -> list[Component]:
    query = {"colour": place.query.get("colour"), **paths.variants(place.query)}
    names = list(dict.fromkeys(layer.projection for layer in layers if layer.layer == place.layer))
    depths = sorted(layer.layer for layer in layers if layer.projection == place.projection)

    def address(layer: int, projection: str) -> str:
        return paths.with_query(paths.layer_path(run, layer, projection), query)

    switch = tabs(
        "projection", [(name, address(place.layer, name), name == place.projection) for name in names]
    )
    before = max((depth for depth in depths if depth < place.layer), default=None)
    after = min((depth for depth in depths if depth > place.layer), default=None)
    return [
        switch,
        move(
            "‹ block" if before is None else f"‹ block {before}",
            None if before is None else address(before, place.projection),
            ids.NAV_PREVIOUS,
            "previous block",
        ),
        move(
            "block ›" if after is None else f"block {after} ›",
            None if after is None else address(after, place.projection),
            ids.NAV_NEXT,
            "next block",
        ),
    ]


def move(text: str, href: str | None, name: str, title: str) -> Component:
    """A step to a neighbour; greyed, without a name, where there is none, so that nothing jumps."""
    if href is None:
        return html.Span(text, className="button disabled", title=f"no {title}", **{"aria-hidden": "true"})
    return link(text, href, id=name, className="button", title=title)
