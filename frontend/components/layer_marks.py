"""What is marked in a layer: neurons above a WD, counted, and the selected one, in grid, scatter and table alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import html
from dash.development.base_component import Component

from app.schemas.layer import Correlation, LayerValues, Metric
from app.schemas.variant import VariantKind
from frontend import ids, paths, theme
from frontend.components.common import card, graph, link, note, view_select
from frontend.components.share import number_of, wd_slider
from frontend.components.table_view import TableView
from frontend.figures import marks, metrics, scatter
from frontend.figures.layer import grid_shape

SELECTED, FROM = "selected", "from"


@dataclass(frozen=True)
class LayerView:
    """What is marked."""

    threshold: float
    selected: int | None = None


def view_of(query: Mapping[str, str], neurons: int, threshold: float) -> LayerView:
    """The view that a query names; by default the layer's own Wasserstein neurons are marked."""
    text = query.get(SELECTED, "")
    known = text.isascii() and text.isdigit() and len(text) <= paths.MAX_INDEX_DIGITS and int(text) < neurons
    return LayerView(number_of(query.get(FROM), threshold), int(text) if known else None)


def scatter_axes(query: Mapping[str, str], have: Collection[VariantKind]) -> tuple[Metric, Metric]:
    """The metrics that a query sets against each other: MD over WD where it names none that can be shown."""
    usable = [metric for metric in Metric if not metric.needs - set(have)]
    up = next((metric for metric in usable if metric == query.get("y")), Metric.md)
    return metrics.named(query.get("x"), usable), up


def marks_card(
    values: LayerValues, view: LayerView, top_share: float, run: str, kept: Mapping[str, str | None]
) -> Component:
    """The slider, how many it marks, and the selected neuron."""
    most = values.summary.wd_max or 0.0
    return card(
        "Wasserstein neurons",
        html.Div(
            [
                html.P(
                    count_of(values, view),
                    id=ids.LAYER_COUNT,
                    className="headline",
                    **{"aria-live": "polite"},
                ),
                html.Div(
                    selected_words(values, view, run, kept),
                    id=ids.LAYER_SELECTED,
                    className="row",
                    **{"aria-live": "polite"},
                ),
            ],
            className="row between marks",
        ),
        tools=[
            html.Span("WD of at least", className="muted small"),
            wd_slider(
                ids.LAYER_THRESHOLD, min(view.threshold, most), most, "WD from which neurons are marked"
            ),
            dmc.Button(
                f"top {100 * top_share:.3g} %",
                id=ids.LAYER_TOP,
                variant="default",
                size="xs",
                **{"aria-label": f"mark the top {100 * top_share:.3g} % of the layer"},
            ),
        ],
    )


def count_of(values: LayerValues, view: LayerView) -> str:
    """How many neurons are marked."""
    return marks.count_words(len(marks.above(values, view.threshold)), values.neurons, view.threshold)


def selected_words(
    values: LayerValues, view: LayerView, run: str, kept: Mapping[str, str | None]
) -> list[Component]:
    """The selected neuron and the way to its page, with what is `kept` of the query; nothing where none is selected."""
    if view.selected is None:
        return []
    wd = values.metrics[Metric.wd][view.selected]
    rank = marks.place_in_order(values, "-wd", view.selected)
    place = "" if rank is None or wd is None else f", rank {rank + 1:,} of {values.neurons:,}"
    address = paths.neuron_path(run, values.layer, values.projection, view.selected)
    return [
        html.Span(
            [html.Span(className="ring"), f"neuron {view.selected}: WD {theme.number(wd)}{place}"],
            className="selected-neuron",
        ),
        link("Open (Enter)", paths.with_query(address, kept), id=ids.LAYER_OPEN, className="button"),
    ]


def add_marks(figure: go.Figure, values: LayerValues, view: LayerView) -> go.Figure:
    """The grid with its marks."""
    points = points_of(values, view)
    side = min(11, max(4, 400 // grid_shape(values.neurons)[1]))
    figure.add_trace(marks.marked_trace(*points[marks.MARKED], outlines=True, size=side))
    figure.add_trace(marks.selected_trace(*points[marks.SELECTED]))
    return figure


def points_of(values: LayerValues, view: LayerView) -> dict[int, tuple[list[int], list[int]]]:
    """Columns and rows of the grid's marks, by trace."""
    outlined = marks.drawn(marks.above(values, view.threshold))
    chosen = [] if view.selected is None else [view.selected]
    return {
        marks.MARKED: marks.cells(outlined, values.neurons),
        marks.SELECTED: marks.cells(chosen, values.neurons),
    }


def row_of(values: LayerValues, view: LayerView, table: TableView, scroll: bool) -> dict[str, Any]:
    """What the table shows of the selection: the row's key, and where to scroll to, if anywhere."""
    if view.selected is None:
        return {"key": None, "row": None}
    row = None if table["where"] or not scroll else marks.place_in_order(values, table["sort"], view.selected)
    return {"key": f"{values.layer}.{values.projection}.{view.selected}", "row": row}


def scatter_card(
    values: LayerValues, correlation: Correlation, view: LayerView, have: Collection[VariantKind]
) -> Component:
    """Two metrics against each other, with their correlation."""
    figure = scatter.scatter_figure(values, correlation.x, correlation.y, view.threshold, view.selected)
    said = [metrics.EXPLANATIONS.get(metric, "") for metric in dict.fromkeys((correlation.x, correlation.y))]
    return card(
        "Two metrics",
        html.P(scatter.correlation_words(correlation), id=ids.CORRELATION, className="headline"),
        graph(ids.LAYER_SCATTER, figure, scatter.scatter_summary(correlation)),
        note(" ".join(["A point per neuron; click one to mark it, again to open it.", *said]).strip()),
        tools=[
            view_select("x", "across", metrics.choices(have), str(correlation.x)),
            view_select("y", "up", metrics.choices(have), str(correlation.y)),
        ],
    )
