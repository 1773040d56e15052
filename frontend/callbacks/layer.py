"""A layer's grid, scatter and table follow one selection and one threshold, both kept in the address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, Patch, State, no_update
from dash.exceptions import PreventUpdate

from app.client import AsyncClient
from app.schemas.layer import LayerValues, Metric
from app.schemas.variant import VariantKind
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.layer_marks import (
    FROM,
    SELECTED,
    LayerView,
    count_of,
    points_of,
    row_of,
    selected_words,
    view_of,
)
from frontend.components.table_view import table_view
from frontend.figures import marks
from frontend.figures.layer import neuron_at


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of the layer page."""
    _clicks(app)
    _threshold(app)
    _followed(app, client)
    _marked(app)


def picked(index: int | None, search: str, place: dict[str, Any]) -> tuple[Any, Any]:
    """Where a click on a point leads, (address, view): the first marks the neuron, one more opens its page."""
    if index is None:
        return no_update, no_update
    if paths.query_of(search).get(SELECTED) != str(index):
        return no_update, {SELECTED: str(index)}
    return _address(place, index, search), no_update


def _address(place: dict[str, Any], index: int, search: str) -> str:
    address = paths.neuron_path(place["run"], place["layer"], place["projection"], index)
    return paths.keep_variants(address, search)


def _clicks(app: Dash) -> None:
    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.LAYER_GRAPH, "clickData"),
        State(ids.LAYER_PLACE, "data"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def cell(click: dict[str, Any] | None, place: dict[str, Any], search: str) -> Any:
        if not click:
            return no_update
        point = click["points"][0]
        index = neuron_at(point["y"], point["x"], place["neurons"])
        return no_update if index is None else _address(place, index, search)

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Output(ids.SET_VIEW, "data", allow_duplicate=True),
        Output(ids.LAYER_SCATTER, "clickData"),
        Input(ids.LAYER_SCATTER, "clickData"),
        State(ids.LAYER_PLACE, "data"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def dot(click: dict[str, Any] | None, place: dict[str, Any], search: str) -> tuple[Any, Any, Any]:
        if not click:
            return no_update, no_update, no_update
        point = click["points"][0]
        index = int(point["pointIndex"]) if point["curveNumber"] == marks.ALL else None
        address, view = picked(index, search, place)
        return address, view, None  # forgotten, so that the same click once more is a new one


def _threshold(app: Dash) -> None:
    @on(
        app,
        Output(ids.SET_VIEW, "data", allow_duplicate=True),
        Input(ids.LAYER_THRESHOLD, "value"),
        State(ids.LAYER_PLACE, "data"),
        prevent_initial_call=True,
    )
    def slide(wd: float | None, place: dict[str, Any]) -> Any:
        if wd is None:
            return no_update
        return {FROM: None if wd == place["threshold"] else f"{wd:.6g}"}

    @on(
        app,
        Output(ids.LAYER_THRESHOLD, "value"),
        Input(ids.LAYER_TOP, "n_clicks"),
        State(ids.LAYER_PLACE, "data"),
        prevent_initial_call=True,
    )
    def top(clicks: int | None, place: dict[str, Any]) -> Any:
        return place["threshold"] if clicks else no_update


def _followed(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.LAYER_MARKS, "data"),
        Output(ids.LAYER_SCATTER, "figure"),
        Output(ids.LAYER_COUNT, "children"),
        Output(ids.LAYER_SELECTED, "children"),
        Output(ids.LAYER_ROW, "data"),
        Input(ids.URL, "search"),
        State(ids.URL, "pathname"),
        State(ids.MADE_FOR, "data"),
        State(ids.LAYER_PLACE, "data"),
        State(ids.SET_VIEW, "data"),
        prevent_initial_call=True,
    )
    async def follow(
        search: str, pathname: str, made_for: str | None, place: dict[str, Any], last: dict[str, Any] | None
    ) -> tuple[Any, ...]:
        if paths.lasting(pathname, search) != made_for:
            raise PreventUpdate  # another page is on its way
        query = paths.query_of(search)
        table, variants = table_view(query), {str(kind): place[str(kind)] for kind in VariantKind}
        view = view_of(query, place["neurons"], place["threshold"])
        metrics = {str(Metric.wd), place["x"], place["y"]}
        if (sort := table["sort"].lstrip("-")) in shown_metrics(variants):
            metrics.add(sort)
        values = await client.layer(
            place["run"], place["layer"], place["projection"], sorted(metrics), **variants
        )
        by_table = (last or {}).get("_by") == "table"
        return (
            points_of(values, view),
            _scatter_marks(values, view, place),
            count_of(values, view),
            selected_words(values, view, place["run"], paths.variants(query)),
            row_of(values, view, table, scroll=not by_table),
        )


def _marked(app: Dash) -> None:
    @on(
        app,
        Output(ids.LAYER_GRAPH, "figure"),
        Input(ids.LAYER_MARKS, "data"),
        prevent_initial_call=True,
    )
    def outline(points: dict[str, Any] | None) -> Any:
        grid = Patch()
        for trace, (x, y) in (points or {}).items():
            grid["data"][int(trace)].update({"x": x, "y": y})
        return grid

    mark = ClientsideFunction("view", "row")
    app.clientside_callback(mark, Input(ids.LAYER_ROW, "data"))

    @on(
        app,
        Output(ids.NEURON_TABLE, "scrollTo", allow_duplicate=True),
        Input(ids.LAYER_ROW, "data"),
        prevent_initial_call=True,
    )
    def scroll(row: dict[str, Any] | None) -> Any:
        place = (row or {}).get("row")
        return no_update if place is None else {"rowIndex": place, "rowPosition": "middle"}


def shown_metrics(variants: Mapping[str, str | None]) -> set[str]:
    """Metrics that the service has with the pruning and the expansion that are named."""
    have = {kind for kind in VariantKind if variants[str(kind)]}
    return {str(metric) for metric in Metric if not metric.needs - have}


def _scatter_marks(values: LayerValues, view: LayerView, place: dict[str, Any]) -> Patch:
    dots = Patch()
    across = marks.metric_values(values, Metric(place["x"]))
    up = marks.metric_values(values, Metric(place["y"]))
    chosen = [] if view.selected is None else [view.selected]
    outlined = marks.drawn(marks.above(values, view.threshold))
    for trace, indices in ((marks.MARKED, outlined), (marks.SELECTED, chosen)):
        dots["data"][trace].update({"x": across[indices], "y": up[indices]})
    return dots
