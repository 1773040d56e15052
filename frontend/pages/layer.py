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
    note,
    page_title,
    pair,
    tabs,
    tile,
    view_select,
)
from frontend.components.layer_marks import (
    LayerView,
    add_marks,
    marks_card,
    row_of,
    scatter_axes,
    scatter_card,
    view_of,
)
from frontend.components.neuron_grid import neuron_grid
from frontend.components.steps import neighbours, step
from frontend.components.table_view import table_view
from frontend.components.variants import DONE, undone_metric
from frontend.figures import layer as figures
from frontend.figures import metrics
from frontend.pages.chosen import Chosen, at_layer, bar, kind_of, load, results
from frontend.paths import Place


async def page(client: AsyncClient, place: Place) -> Component:
    """The layer in the address, coloured by the metric in the query; two metrics against each other."""
    run_id = place.run or ""
    run, layers, chosen = await asyncio.gather(
        client.run(run_id), client.layers(run_id), load(client, run_id, place)
    )
    colour = metrics.named(place.query.get("colour"))
    asked = Metric.wd if metrics.lacking(colour, chosen.kinds) else colour
    across, up = scatter_axes(place.query, chosen.kinds)
    wanted = dict.fromkeys([*figures.wanted(asked, chosen.kinds), across, up])
    values, correlation = await asyncio.gather(
        client.layer(run_id, place.layer, place.projection, [str(m) for m in wanted], **chosen.names),
        client.correlation(run_id, place.layer, place.projection, across, up, **chosen.names),
    )
    view = view_of(place.query, values.neurons, values.summary.threshold or 0.0)
    table = table_view(place.query)
    return column(
        page_title(
            f"Block {place.layer} · {place.projection}", *_moves(run_id, layers, place), below=bar(chosen)
        ),
        *at_layer(chosen, place),
        _tiles(run, values.summary),
        results(chosen, place),
        marks_card(values, view, run.request.top_share, run_id, paths.variants(place.query)),
        pair(
            _grid(values, colour, chosen, view),
            card(
                "Ranked",
                *neuron_grid(run_id, place.layer, place.projection, **chosen.names, **table),
                note("Click a row to open its neuron; the arrow keys mark one, and Enter opens it."),
            ),
        ),
        pair(scatter_card(values, correlation, view, chosen.kinds), _histogram(run, values)),
        dcc.Store(
            id=ids.LAYER_PLACE,
            data={
                "run": run_id,
                "layer": place.layer,
                "projection": place.projection,
                "neurons": values.neurons,
                "threshold": values.summary.threshold or 0.0,
                "x": across,
                "y": up,
                **chosen.names,
            },
        ),
        dcc.Store(id=ids.LAYER_MARKS),
        dcc.Store(id=ids.LAYER_ROW, data=row_of(values, view, table, scroll=False)),
    )


def _grid(values: LayerValues, colour: Metric, chosen: Chosen, view: LayerView) -> Component:
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
        figure = add_marks(figures.grid_figure(values, colour, blank), values, view)
        body = [
            graph(ids.LAYER_GRAPH, figure, figures.grid_summary(values, colour)),
            note(_grid_note(colour) + words),
        ]
    tools = view_select("colour", "colour", metrics.choices(chosen.kinds), str(colour), wide=True)
    return card("All neurons", *body, tools=tools)


def _grid_note(colour: Metric) -> str:
    text = "Cells are in the order of the neurons' index, row by row; outlined in red from the WD chosen above. Click one to open its neuron."
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
    query = {**{key: place.query.get(key) for key in ("colour", "x", "y")}, **paths.variants(place.query)}
    names = list(dict.fromkeys(layer.projection for layer in layers if layer.layer == place.layer))
    depths = [layer.layer for layer in layers if layer.projection == place.projection]

    def address(layer: int, projection: str) -> str:
        return paths.with_query(paths.layer_path(run, layer, projection), query)

    switch = tabs(
        "projection", [(name, address(place.layer, name), name == place.projection) for name in names]
    )
    before, after = neighbours(place.layer, depths)
    return [
        switch,
        step(
            "‹ block" if before is None else f"‹ block {before}",
            None if before is None else address(before, place.projection),
            ids.NAV_PREVIOUS,
            "previous block",
        ),
        step(
            "block ›" if after is None else f"block {after} ›",
            None if after is None else address(after, place.projection),
            ids.NAV_NEXT,
            "next block",
        ),
    ]
