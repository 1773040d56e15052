"""The ranked table of neurons: AG Grid that asks the service for the rows it shows."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.neuron import NeuronRow
from frontend import ids

BLOCK_ROWS = 100
THEME = {
    "function": "themeQuartz.withParams({backgroundColor: 'var(--surface)', foregroundColor: 'var(--text)', "
    "borderColor: 'var(--grid)', headerBackgroundColor: 'var(--surface)', headerTextColor: 'var(--muted)', "
    "rowHoverColor: 'var(--hover)', wrapperBorder: false, fontFamily: 'inherit', fontSize: 14, headerFontSize: 12, "
    "spacing: 6, accentColor: 'var(--accent)', chromeBackgroundColor: 'var(--surface)', "
    "oddRowBackgroundColor: 'var(--surface)'})"
}
THREE_DIGITS = {
    "function": "params.value == null ? (params.data ? '–' : '') : "
    "d3.format(Math.abs(params.value) > 0 && Math.abs(params.value) < 1e-4 ? '.2e' : ',.3r')(params.value)"
}
FULL = {"function": "params.value == null ? '' : String(params.value)"}


def _column(field: str, name: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "headerName": name, "type": "rightAligned", **more}


def _value(field: str, name: str, **more: Any) -> dict[str, Any]:
    return _column(field, name, valueFormatter=THREE_DIGITS, tooltipValueGetter=FULL, **more)


def _columns(in_layer: bool) -> list[dict[str, Any]]:
    place = [
        _column("layer", "block", width=84),
        {"field": "projection", "headerName": "projection", "sortable": False, "flex": 1, "minWidth": 110},
    ]
    rank = _column("rank_layer" if in_layer else "rank_model", "rank", width=76)
    values = [
        _value("wd", "WD", sort="desc"),
        _value("md", "MD", headerTooltip="Mapping difficulty: compares neurons within one layer only."),
        _value("kurtosis", "kurtosis"),
        _value("mean_abs_weight", "mean |w|"),
    ]
    more = [] if in_layer else [_value("skew", "skew"), _value("entropy", "entropy")]
    return [rank, *([] if in_layer else place), _column("index", "neuron", width=92), *values, *more]


def neuron_grid(run: str, layer: int | None = None, projection: str | None = None) -> list[Component]:
    """The table of a run, or of one of its layers, and the store that tells the callback which rows to fetch."""
    in_layer = layer is not None
    grid = dag.AgGrid(
        id=ids.NEURON_TABLE,
        columnDefs=_columns(in_layer),
        defaultColDef={
            "sortable": True,
            "resizable": True,
            "suppressMovable": True,
            "flex": 1,
            "minWidth": 72,
            "sortingOrder": ["desc", "asc"],
            "suppressHeaderMenuButton": True,
        },
        rowModelType="infinite",
        getRowId="params.data.key",
        dashGridOptions={
            "theme": THEME,
            "rowHeight": 32,
            "headerHeight": 32,
            "cacheBlockSize": BLOCK_ROWS,
            "maxBlocksInCache": 10,
            "enableBrowserTooltips": True,
            "animateRows": False,
        },
        style={"height": "520px" if in_layer else "400px", "width": "100%"},
        className="neuron-grid",
    )
    query = {"run": run, "layer": layer, "projection": projection}
    label = "Neurons of this layer, ranked" if in_layer else "Neurons of the whole model, ranked"
    return [
        html.Div(grid, **{"aria-label": label}, role="region"),
        html.Div(id=ids.NEURON_TABLE_ERROR),
        dcc.Store(id=ids.NEURON_TABLE_QUERY, data=query),
    ]


def request_query(request: dict[str, Any], place: dict[str, Any]) -> dict[str, Any]:
    """The service's query for the rows a grid asks for."""
    start, end = int(request["startRow"]), int(request["endRow"])
    model = request.get("sortModel") or [{"colId": "wd", "sort": "desc"}]
    sign = "-" if model[0]["sort"] == "desc" else ""
    return {
        "layer": place["layer"],
        "projection": place["projection"],
        "sort": sign + str(model[0]["colId"]),
        "offset": start,
        "limit": max(1, end - start),
    }


def grid_rows(rows: list[NeuronRow], total: int) -> dict[str, Any]:
    """The answer to a grid; `key` tells a clicked row's neuron."""
    data = [{**row.model_dump(), "key": f"{row.layer}.{row.projection}.{row.index}"} for row in rows]
    return {"rowData": data, "rowCount": total}
