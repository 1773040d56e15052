"""The ranked table of neurons: AG Grid that asks the service for the rows it shows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import dash_ag_grid as dag
from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.neuron import NeuronRow
from app.schemas.variant import VariantKind
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


def _columns(in_layer: bool, kinds: Collection[VariantKind]) -> list[dict[str, Any]]:
    place = [
        _column("layer", "block", width=84),
        {"field": "projection", "headerName": "projection", "sortable": False, "flex": 1, "minWidth": 110},
    ]
    rank = _column("rank_layer" if in_layer else "rank_model", "rank", width=76)
    neuron = _column("index", "neuron", width=92)
    wd = _value("wd", "WD", sort="desc")
    md = _value("md", "MD", headerTooltip="Mapping difficulty: compares neurons within one layer only.")
    shape = [_value("kurtosis", "kurtosis"), _value("mean_abs_weight", "mean |w|")]
    changes = _changes(kinds)
    if not in_layer:
        more = [] if kinds else [_value("skew", "skew"), _value("entropy", "entropy")]
        return [rank, *place, neuron, wd, md, *shape, *more, *changes]
    if len(kinds) == len(VariantKind):  # beside the grid there is room for seven
        return [neuron, wd, *changes]
    return [rank, neuron, wd, md, *(changes or shape)]


def _changes(kinds: Collection[VariantKind]) -> list[dict[str, Any]]:
    """Columns of what is chosen, under a head each."""
    groups = []
    for kind, name, field in (
        (VariantKind.pruning, "sparse", "pruned"),
        (VariantKind.expansion, "expanded", "expanded"),
    ):
        if kind in kinds:
            w1 = f"W1 between {name} and dense outputs: another thing than WD."
            rmse = f"Root of the mean squared error of the {name} outputs."
            columns = [
                _value(f"{field}_w1", "W1", headerTooltip=w1),
                _value(f"{field}_rmse", "RMSE", headerTooltip=rmse),
            ]
            groups.append({"headerName": name, "children": columns, "headerClass": f"head-{name}"})
    if set(kinds) == set(VariantKind):
        ri = "RMSE of the pruning over RMSE of the expansion: above 1 the expansion is closer to dense."
        return [_value("ri", "RI", headerTooltip=ri), *groups]
    return groups


def neuron_grid(
    run: str,
    layer: int | None = None,
    projection: str | None = None,
    *,
    pruning: str | None = None,
    expansion: str | None = None,
) -> list[Component]:
    """The table of a run, or of one of its layers, and the store that tells the callback which rows to fetch."""
    in_layer = layer is not None
    chosen = {"pruning": pruning, "expansion": expansion}
    grid = dag.AgGrid(
        id=ids.NEURON_TABLE,
        columnDefs=_columns(in_layer, [kind for kind in VariantKind if chosen[kind]]),
        defaultColDef={
            "sortable": True,
            "resizable": True,
            "suppressMovable": True,
            "flex": 1,
            "minWidth": 72 if in_layer else 80,
            "sortingOrder": ["desc", "asc"],
            "suppressHeaderMenuButton": True,
        },
        rowModelType="infinite",
        getRowId="params.data.key",
        dashGridOptions={
            "theme": THEME,
            "rowHeight": 32,
            "headerHeight": 32,
            "groupHeaderHeight": 28,
            "cacheBlockSize": BLOCK_ROWS,
            "maxBlocksInCache": 10,
            "enableBrowserTooltips": True,
            "animateRows": False,
        },
        style={"height": "520px" if in_layer else "400px", "width": "100%"},
        className="neuron-grid",
    )
    query = {"run": run, "layer": layer, "projection": projection, **chosen}
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
        **{kind: place[kind] for kind in VariantKind if place.get(kind)},
    }


def grid_rows(rows: list[NeuronRow], total: int) -> dict[str, Any]:
    """The answer to a grid; `key` tells a clicked row's neuron."""
    data = [
        {
            **row.model_dump(exclude={"effects"}),
            **(row.effects.model_dump() if row.effects else {}),
            "key": f"{row.layer}.{row.projection}.{row.index}",
        }
        for row in rows
    ]
    return {"rowData": data, "rowCount": total}
