"""A layer: all its neurons as a grid, and the histogram of their WD."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.schemas.layer import LayerSummary, LayerValues, Metric
from app.schemas.variant import VariantKind
from frontend import theme
from frontend.figures.metrics import Colours

HOVER = (Metric.wd, Metric.md, Metric.kurtosis, Metric.mean_abs_weight)
"""Metrics of the hover text, whatever the colour."""
CHANGES = (
    Metric.pruned_w1,
    Metric.pruned_rmse,
    Metric.expanded_w1,
    Metric.expanded_rmse,
    Metric.ri,
)
"""What the hover text adds where a pruning and an expansion are chosen."""
BLANK = [[0.0, "rgba(127,127,127,0.22)"], [1.0, "rgba(127,127,127,0.22)"]]
"""Cells without a value that can be clicked all the same, on light and dark."""
CLIP_SHARE = 0.995
"""Colours end at this quantile, so that one extreme neuron does not leave the rest in one colour."""


def grid_shape(neurons: int) -> tuple[int, int]:
    """Rows and columns of a near-square grid with room for `neurons` cells."""
    columns = max(1, math.ceil(math.sqrt(neurons)))
    return max(1, math.ceil(neurons / columns)), columns


def neuron_at(row: float, column: float, neurons: int) -> int | None:
    """Index of the neuron in a grid cell; None for a cell past the last neuron."""
    index = round(row) * grid_shape(neurons)[1] + round(column)
    return index if 0 <= index < neurons else None


def wanted(colour: Metric, have: Collection[VariantKind]) -> list[Metric]:
    """The metrics that the grid is drawn from: those of the hover text, then the colour if it is not among them."""
    named = [*HOVER, *(metric for metric in CHANGES if metric.needs <= set(have))]
    return named if colour in named else [*named, colour]


def _array(values: LayerValues, metric: Metric) -> NDArray[np.float32]:
    """One metric of all neurons, nan where there is none, shape (neurons,)."""
    return np.asarray([np.nan if v is None else v for v in values.metrics[metric]], dtype=np.float32)


def grid_figure(values: LayerValues, colour: Metric, blank: str = "") -> go.Figure:
    """A cell per neuron in the order of the index, row by row; `customdata` is the index and every metric of `values`.

    blank: why no neuron has a value; cells are then drawn in no colour, and still lead to their neurons.
    """
    rows, columns = grid_shape(values.neurons)
    metrics = [Metric(name) for name in values.metrics]
    cells = np.full((rows * columns, 1 + len(metrics)), np.nan, dtype=np.float32)
    cells[: values.neurons, 0] = np.arange(values.neurons)
    for place, metric in enumerate(metrics, start=1):
        cells[: values.neurons, place] = _array(values, metric)
    shown = cells[:, 1 + metrics.index(colour)].reshape(rows, columns)
    if blank:
        shown = np.where(np.isfinite(cells[:, 0]), 1, np.nan).reshape(rows, columns)
    colours = Colours.of(colour, shown, (0.0, CLIP_SHARE))
    low, high = colours.ends
    lines = "".join(
        f"<br>{theme.LABELS[m]} %{{customdata[{place}]:.3g}}"
        for place, m in enumerate(metrics, start=1)
        if np.isfinite(cells[:, place]).any()
    )
    lines += f"<br>{blank}" if blank else ""
    figure = go.Figure(
        go.Heatmap(
            z=colours.cells(shown),
            zmin=low,
            zmax=high,
            customdata=cells.reshape(rows, columns, -1),
            colorscale=BLANK if blank else colours.scale,
            showscale=not blank,
            hoverongaps=False,
            xgap=1 if columns <= 64 else 0,
            ygap=1 if columns <= 64 else 0,
            colorbar=colours.bar(),
            hovertemplate=f"<b>neuron %{{customdata[0]:d}}</b>{lines}<extra></extra>",
        )
    )
    hidden = {"showgrid": False, "showticklabels": False, "constrain": "domain"}
    figure.update_xaxes(theme.plain_axis(**hidden))
    figure.update_yaxes(theme.plain_axis(**hidden, autorange="reversed", scaleanchor="x"))
    figure.update_layout(theme.plain_layout(height=520, margin={"l": 8, "r": 8, "t": 8, "b": 8}))
    return figure


def grid_summary(values: LayerValues, colour: Metric) -> str:
    """The grid in one sentence."""
    array = _array(values, colour)
    where = f"block {values.layer} {values.projection}"
    if not np.isfinite(array).any():
        return f"{values.neurons:,} neurons of {where}: none has a {theme.LABELS[colour]}."
    top = int(np.nanargmax(array))
    return (
        f"{values.neurons:,} neurons of {where} in the order of their index, coloured by {theme.LABELS[colour]}: "
        f"from {theme.number(float(np.nanmin(array)))} to {theme.number(float(array[top]))} at neuron {top}."
    )


def histogram_figure(values: LayerValues, floor: float | None, top_share: float) -> go.Figure:
    """How many neurons have which WD, with the threshold of the top share and the Gaussian floor."""
    known = _array(values, Metric.wd)
    known = known[np.isfinite(known)]
    counts, edges = np.histogram(known, bins=60) if known.size else (np.zeros(1), np.array([0.0, 1.0]))
    figure = go.Figure(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=np.diff(edges),
            marker={"color": theme.DENSE, "line": {"width": 0}},
            hovertemplate="WD about %{x:.3g}: %{y} neurons<extra></extra>",
        )
    )
    if floor is not None:
        _line(figure, floor, f"Gaussian floor {theme.number(floor)}", theme.GAUSSIAN, "dash", 1.0)
    if values.summary.threshold is not None:
        text = f"top {100 * top_share:.3g} % from {theme.number(values.summary.threshold)}"
        _line(figure, values.summary.threshold, text, theme.WASSERSTEIN, "solid", 0.8)
    figure.update_xaxes(theme.plain_axis(title={"text": "WD", "standoff": 6}, rangemode="tozero"))
    room = [0, 1.25 * max(1, int(counts.max()))]  # for the words beside the lines
    figure.update_yaxes(theme.plain_axis(title={"text": "neurons", "standoff": 6}, range=room))
    figure.update_layout(theme.plain_layout(height=400, bargap=0))
    return figure


def _line(figure: go.Figure, x: float, text: str, colour: str, dash: str, y: float) -> None:
    figure.add_vline(x=x, line={"color": colour, "dash": dash, "width": 2})
    figure.add_annotation(
        x=x, y=y, yref="paper", text=text, showarrow=False, xanchor="left", yanchor="top", xshift=6
    )


def histogram_summary(summary: LayerSummary) -> str:
    """The histogram in one sentence."""
    return (
        f"WD of {summary.neurons:,} neurons: median {theme.number(summary.wd_median)}, largest "
        f"{theme.number(summary.wd_max)}; {summary.wasserstein:,} are at or above the threshold "
        f"{theme.number(summary.threshold)}."
    )
