"""Neurons marked in a layer's plots: those above a WD, and the one that is selected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.schemas.layer import LayerValues, Metric
from frontend import theme
from frontend.figures.layer import grid_shape

MOST_MARKED = 3000
"""More are not outlined one by one: they would hide the plot and take seconds to draw."""
Points = Sequence[float] | NDArray[np.float64]
ALL, MARKED, SELECTED = 0, 1, 2
"""Traces of both plots."""


def metric_values(values: LayerValues, metric: Metric) -> NDArray[np.float64]:
    """One metric of all neurons, nan where there is none, shape (neurons,)."""
    return np.asarray([np.nan if v is None else v for v in values.metrics[metric]], dtype=float)


def above(values: LayerValues, threshold: float) -> NDArray[np.intp]:
    """Indices of the neurons whose WD is at least `threshold`."""
    return np.flatnonzero(metric_values(values, Metric.wd) >= threshold)


def drawn(marked: NDArray[np.intp]) -> NDArray[np.intp]:
    """The marked neurons that are outlined: all, or none where they are too many."""
    return marked if len(marked) <= MOST_MARKED else marked[:0]


def count_words(marked: int, neurons: int, threshold: float) -> str:
    """How many neurons are marked, with the denominator."""
    text = (
        f"{marked:,} of {neurons:,} neurons, {theme.percent(marked / max(1, neurons))}, "
        f"have a WD of at least {theme.number(threshold)}."
    )
    return text if marked <= MOST_MARKED else f"{text} More than {MOST_MARKED:,} are not outlined."


def cells(indices: Sequence[int] | NDArray[np.intp], neurons: int) -> tuple[list[int], list[int]]:
    """Columns and rows of neurons in the grid."""
    rows, columns = np.divmod(np.asarray(indices, dtype=int), grid_shape(neurons)[1])
    return columns.tolist(), rows.tolist()


def place_in_order(values: LayerValues, sort: str, index: int) -> int | None:
    """Where a neuron stands in its layer's list, from 0, sorted as the service sorts; None for a column not at hand."""
    name = sort.lstrip("-")
    if name == "index":
        return values.neurons - 1 - index if sort[0] == "-" else index
    down, name = (sort[0] != "-", "wd") if name == "rank_layer" else (sort[0] == "-", name)
    if name not in values.metrics or not 0 <= index < values.neurons:
        return None
    found = metric_values(values, Metric(name))
    order = np.argsort(-found if down else found, kind="stable")  # nan last, ties by index
    return int(np.flatnonzero(order == index)[0])


def kind(large: bool) -> type[go.Scatter] | type[go.Scattergl]:
    """How points are drawn: as shapes, or, where a plot has many, by the graphics card.

    All traces of a plot in the same way: shapes would lie below the graphics card's points.
    """
    found: type[go.Scatter] | type[go.Scattergl] = go.Scattergl if large else go.Scatter
    return found


def marked_trace(
    x: Points,
    y: Points,
    outlines: bool,
    size: float,
    large: bool = False,
) -> go.Scatter | go.Scattergl:
    """The marked neurons: outlines in the grid, points in the scatter. Clicks go through to what lies below."""
    return kind(large)(
        x=x,
        y=y,
        mode="markers",
        name="marked",
        hoverinfo="skip",
        marker={
            "symbol": "square-open" if outlines else "circle",
            "color": theme.WASSERSTEIN,
            "size": size,
            "line": {"width": 1.5 if outlines else 0, "color": theme.WASSERSTEIN},
        },
    )


def selected_trace(x: Points, y: Points, large: bool = False) -> go.Scatter | go.Scattergl:
    """A ring around the neuron that is selected."""
    ring: dict[str, Any] = {
        "symbol": "circle-open",
        "size": 18,
        "color": theme.PINNED,
        "line": {"width": 3, "color": theme.PINNED},
    }
    return kind(large)(x=x, y=y, mode="markers", name="selected", hoverinfo="skip", marker=ring)
