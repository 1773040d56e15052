"""The ranked table of neurons: AG Grid that asks the service for the rows it shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.neuron import NeuronRow
from app.schemas.variant import VariantKind
from frontend import ids
from frontend.components.table_view import (
    DEFAULT_SORT,
    NUMBER_FILTER,
    TableView,
    asked_view,
    filter_model,
)

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


def _ordered(columns: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """The columns with the order that is asked for; columns without numbers cannot be filtered."""
    made = []
    for column in columns:
        if "children" in column:
            made.append({**column, "children": _ordered(column["children"], sort)})
            continue
        order = {"sort": "desc" if sort[0] == "-" else "asc"} if column["field"] == sort.lstrip("-") else {}
        filters = {} if column["field"] == "projection" else NUMBER_FILTER
        made.append({**column, **filters, **order})
    return made


def _columns(in_layer: bool, kinds: Collection[VariantKind]) -> list[dict[str, Any]]:
    place = [
        _column("layer", "block", width=84),
        {"field": "projection", "headerName": "projection", "sortable": False, "flex": 1, "minWidth": 110},
    ]
    rank = _column("rank_layer" if in_layer else "rank_model", "rank", width=76)
    neuron = _column("index", "neuron", width=92)
    wd = _value("wd", "WD")
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
    sort: str = DEFAULT_SORT,
    where: Sequence[str] = (),
) -> list[Component]:
    """The table of a run, or of one of its layers, and the store that tells the callback which rows to fetch.

    sort, where: the order and the conditions it begins with, as the service takes them.
    """
    in_layer = layer is not None
    chosen = {"pruning": pruning, "expansion": expansion}
    grid = dag.AgGrid(
        id=ids.NEURON_TABLE,
        columnDefs=_ordered(_columns(in_layer, [kind for kind in VariantKind if chosen[kind]]), sort),
        filterModel=filter_model(where),
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
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": False},
        },
        style={"height": "520px" if in_layer else "400px", "width": "100%"},
        className="neuron-grid crowded" if in_layer else "neuron-grid",
    )
    query = {"run": run, "layer": layer, "projection": projection, **chosen}
    label = "Neurons of this layer, ranked" if in_layer else "Neurons of the whole model, ranked"
    return [
        _goto(),
        html.Div(grid, **{"aria-label": label}, role="region"),
        html.Div(id=ids.NEURON_TABLE_ERROR),
        dcc.Store(id=ids.NEURON_TABLE_QUERY, data=query),
    ]


def _goto() -> Component:
    """Where in the list one is, and a box that leads to a place of it."""
    box = dmc.NumberInput(
        id=ids.NEURON_TABLE_GOTO,
        placeholder="go to place",
        min=1,
        allowDecimal=False,
        allowNegative=False,
        hideControls=True,
        debounce=True,
        size="xs",
        w=110,
        **{"aria-label": "go to this place of the list, from 1; by WD without conditions it is the rank"},
    )
    return html.Div(
        [html.Span("", id=ids.NEURON_TABLE_PLACE, className="muted small"), box], className="row between"
    )


def list_words(total: int, view: TableView) -> str:
    """How many rows the list has, and under which conditions."""
    text = f"{total:,} neuron{'' if total == 1 else 's'}"
    return f"{text} with {' and '.join(view['where'])}" if view["where"] else text


def request_query(request: dict[str, Any], place: dict[str, Any]) -> dict[str, Any]:
    """The service's query for the rows a grid asks for."""
    start, end = int(request["startRow"]), int(request["endRow"])
    view = asked_view(request)
    return {
        "layer": place["layer"],
        "projection": place["projection"],
        "sort": view["sort"],
        **({"where": view["where"]} if view["where"] else {}),
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
