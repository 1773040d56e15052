"""The card of the Wasserstein map: the whole, or the part that the address names."""

from __future__ import annotations

from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import InvalidRequest
from app.schemas.layer import Metric, RunMap
from app.schemas.run import Run
from frontend import ids, paths, theme
from frontend.components.common import card, error_of, graph, link, note, view_select
from frontend.components.variants import DONE, undone_metric
from frontend.figures import map as figures
from frontend.figures import metrics
from frontend.pages.chosen import Chosen, kind_of
from frontend.paths import Place
from frontend.zoom import BLOCKS, RANKS, Zoom

ALL = "all"


async def map_card(client: AsyncClient, run: Run, place: Place, chosen: Chosen) -> Component:
    """The map with its selectors; in place of it what is missing, or why there is no such part."""
    metric = metrics.named(place.query.get("metric"))
    names = [projection.name for projection in run.model.projections]
    only = place.query.get("projection")
    only, zoom = (only if only in names else None), Zoom.read(place.query)
    missing = metrics.lacking(metric, chosen.kinds)
    if missing:
        body = [undone_metric(missing)]
    else:
        try:
            part: dict[str, Any] = {**zoom.part, **chosen.names}
            found = await client.map(run.id, metric=metric, projection=only, **part)
            body = _map(run, found, chosen, place, zoom)
        except InvalidRequest as error:
            body = [error_of(error), _whole(place)]
    choices = [{"value": ALL, "label": "all"}, *({"value": name, "label": name} for name in names)]
    return card(
        "Wasserstein map" if metric is Metric.wd else f"Map of {theme.LABELS[metric]}",
        *body,
        tools=[
            view_select("metric", "colour", metrics.choices(chosen.kinds), str(metric), wide=True),
            view_select("projection", "layers", choices, only or ALL),
        ],
    )


def _map(run: Run, run_map: RunMap, chosen: Chosen, place: Place, zoom: Zoom) -> list[Component]:
    undone = _undone(run_map, chosen)
    figure = figures.map_figure(run_map, undone)
    zoomed = zoom != Zoom()
    shown = {
        "run": run.id,
        "curves": [trace.name for trace in figure.data],
        "panels": figures.panels(run_map),
        "log": figures.logarithmic(run_map),
        "zoomed": zoomed,
        "single": zoom.ranks is not None and figures.single(run_map),
        **figures.shown_part(run_map),
    }
    parts = [
        graph(ids.MAP_GRAPH, figure, figures.map_summary(run_map)),
        dcc.Store(id=ids.MAP_PANELS, data=shown),
        note(_explanation(run_map, len(undone), bool(shown["single"]))),
    ]
    if not zoomed:
        return parts
    where = html.P([f"Shown: {zoom.words}. ", _whole(place)], className="note zoomed")
    return [where, *parts]


def _whole(place: Place) -> Component:
    address = paths.with_query(place.path, {**place.query, BLOCKS: None, RANKS: None})
    return link("Show the whole map", address, id=ids.MAP_WHOLE)


def _undone(run_map: RunMap, chosen: Chosen) -> dict[tuple[int, str], str]:
    """Layers that what the metric needs has not done, and which that is."""
    needed = [variant for variant in chosen.variants if kind_of(variant) in run_map.metric.needs]
    done = {variant.id: {(r.layer, r.projection) for r in variant.layers} for variant in needed}
    found = {}
    for row in run_map.rows:
        place = (row.layer, row.projection)
        lacking = [DONE[kind_of(variant)] for variant in needed if place not in done[variant.id]]
        if lacking:
            found[place] = f"not {' and not '.join(lacking)} yet"
    return found


def _explanation(run_map: RunMap, undone: int, single: bool) -> str:
    colours = figures.map_colours(run_map)
    text = (
        "Each row is a layer, each cell a neuron, ranked from the highest. Click a cell to open its neuron. "
        if single
        else "Each row is a layer, each column a bin of neurons, ranked from the highest. Click a cell to open its "
        "layer; drag over a part to see it in finer bins. "
    )
    if undone < len(run_map.rows):
        text += (
            f"Colours run from {theme.number(colours.low)} to {theme.number(colours.high)}, "
            + (
                "as far on both sides of 1 as 99 % of the cells"
                if colours.logarithmic
                else "the 1st to the 99th"
            )
            + (" reach; " if colours.logarithmic else " percentile of the cells; ")
            + "values beyond have the colour at the end."
        )
    if undone:
        text += f" Hatched: {undone} of {len(run_map.rows)} layers that are not done; open one to do it."
    return " ".join([text, metrics.EXPLANATIONS.get(run_map.metric, "")]).strip()
