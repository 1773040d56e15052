"""A layer: all its neurons as a grid, and the histogram of their WD."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.schemas.layer import LayerSummary, LayerValues, Metric
from frontend import theme

COLOURS = (Metric.wd, Metric.md, Metric.kurtosis, Metric.mean_abs_weight)
"""What the grid can be coloured by; the hover text shows all of them."""
SHORT = {Metric.wd: "WD", Metric.md: "MD", Metric.kurtosis: "kurtosis", Metric.mean_abs_weight: "mean |w|"}
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


def colour_of(text: str | None) -> Metric:
    """The metric a query colours by; WD when it names none."""
    return next((metric for metric in COLOURS if metric == text), Metric.wd)


def _array(values: LayerValues, metric: Metric) -> NDArray[np.float32]:
    """One metric of all neurons, nan where there is none, shape (neurons,)."""
    return np.asarray([np.nan if v is None else v for v in values.metrics[metric]], dtype=np.float32)


def grid_figure(values: LayerValues, colour: Metric) -> go.Figure:
    """A cell per neuron in the order of the index, row by row; `customdata` is the index and the four metrics."""
    rows, columns = grid_shape(values.neurons)
    cells = np.full((rows * columns, 1 + len(COLOURS)), np.nan, dtype=np.float32)
    cells[: values.neurons, 0] = np.arange(values.neurons)
    for place, metric in enumerate(COLOURS, start=1):
        cells[: values.neurons, place] = _array(values, metric)
    z = cells[:, 1 + COLOURS.index(colour)].reshape(rows, columns)
    known = z[np.isfinite(z)]
    low, high = (float(known.min()), float(np.quantile(known, CLIP_SHARE))) if known.size else (0.0, 1.0)
    lines = "".join(f"<br>{SHORT[m]} %{{customdata[{p}]:.3g}}" for p, m in enumerate(COLOURS, start=1))
    figure = go.Figure(
        go.Heatmap(
            z=z,
            zmin=low,
            zmax=high if high > low else low + 1e-9,
            customdata=cells.reshape(rows, columns, -1),
            colorscale=theme.SEQUENTIAL,
            hoverongaps=False,
            xgap=1 if columns <= 64 else 0,
            ygap=1 if columns <= 64 else 0,
            colorbar={
                "title": {"text": theme.LABELS[colour], "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
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
        _line(figure, values.summary.threshold, text, theme.PINNED, "solid", 0.8)
    figure.update_xaxes(theme.plain_axis(title={"text": "WD", "standoff": 6}, rangemode="tozero"))
    figure.update_yaxes(theme.plain_axis(title={"text": "neurons", "standoff": 6}))
    figure.update_layout(theme.plain_layout(height=240, bargap=0))
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
