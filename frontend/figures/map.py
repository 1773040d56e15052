"""The Wasserstein map and the trend of WD over depth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.schemas.layer import LayerSummary, MapRow, Metric, RunMap
from frontend import theme

ROW_PIXELS = 13
MIN_HEIGHT, MAX_HEIGHT = 260, 620
COLOUR_SHARES = (0.01, 0.99)
"""Colours run between these quantiles of the cells: a few extreme layers must not leave all others in one colour."""


def panels(run_map: RunMap) -> list[str]:
    """Projections in the order of their panels: as they first appear in the rows."""
    return list(dict.fromkeys(row.projection for row in run_map.rows))


def map_height(run_map: RunMap) -> int:
    """Height of the map in pixels, by its number of blocks."""
    blocks = len({row.layer for row in run_map.rows})
    return min(MAX_HEIGHT, max(MIN_HEIGHT, 90 + ROW_PIXELS * blocks))


def map_figure(run_map: RunMap) -> go.Figure:
    """One panel per projection: a row per block, neurons from the highest rank at the left, colour = mean of a bin.

    A cell's `customdata` holds the first and last rank of its bin (from 1) and the leading neuron's index.
    """
    names = panels(run_map)
    figure = make_subplots(
        rows=1, cols=max(1, len(names)), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.025
    )
    for column, name in enumerate(names, start=1):
        rows = [row for row in run_map.rows if row.projection == name]
        figure.add_trace(_panel(rows, name, theme.LABELS[run_map.metric]), row=1, col=column)
        figure.update_xaxes(
            theme.plain_axis(
                title={"text": f"rank by {theme.LABELS[run_map.metric]}, logarithmic", "standoff": 6},
                showgrid=False,
                type="log",
                dtick=1,
                range=[math.log10(0.5), math.log10(max(row.neurons for row in rows) + 0.5)],
            ),
            row=1,
            col=column,
        )
        figure.update_yaxes(theme.plain_axis(showgrid=False, tickformat="d"), row=1, col=column)
    figure.update_yaxes(title={"text": "block", "standoff": 6}, row=1, col=1)
    low, high = colour_range(run_map)
    figure.update_layout(
        theme.plain_layout(
            height=map_height(run_map),
            margin={"l": 48, "r": 8, "t": 28, "b": 44},
            coloraxis={
                "colorscale": theme.SEQUENTIAL,
                "cmin": low,
                "cmax": high,
                "colorbar": {
                    "title": {"text": theme.LABELS[run_map.metric], "side": "right"},
                    "thickness": 12,
                    "outlinewidth": 0,
                },
            },
        )
    )
    figure.update_annotations(font={"size": 14})
    return figure


def colour_range(run_map: RunMap) -> tuple[float, float]:
    """Values of the first and the last colour; cells beyond them have the colour at the end."""
    known = [value for row in run_map.rows for value in row.values if value is not None]
    if not known:
        return 0.0, 1.0
    low, high = np.quantile(known, COLOUR_SHARES).tolist()
    return (low, high) if high > low else (low, low + 1e-9)


def _panel(rows: Sequence[MapRow], name: str, label: str) -> go.Heatmap:
    widest = max(row.neurons for row in rows)
    bins = max(len(row.values) for row in rows)
    values = np.full((len(rows), bins), np.nan, dtype=np.float32)
    hover = np.zeros((len(rows), bins, 3), dtype=np.int32)
    for place, row in enumerate(rows):
        count = len(row.values)
        values[place, :count] = [np.nan if value is None else value for value in row.values]
        start = np.arange(count) * row.neurons // count
        stop = np.maximum((np.arange(count) + 1) * row.neurons // count, start + 1)
        hover[place, :count] = np.stack([start + 1, stop, np.asarray(row.leaders)], axis=1)
    return go.Heatmap(
        z=values,
        x=0.5 + np.arange(bins + 1) * widest // bins,
        y=[row.layer for row in rows],
        customdata=hover,
        coloraxis="coloraxis",
        name=name,
        hoverongaps=False,
        hovertemplate=(
            f"<b>block %{{y}} · {name}</b><br>rank %{{customdata[0]}} to %{{customdata[1]}}"
            f"<br>{label} %{{z:.3g}}<br>leading neuron %{{customdata[2]}}<extra></extra>"
        ),
    )


def map_summary(run_map: RunMap) -> str:
    """The map in one sentence, for those who cannot see it."""
    label = theme.LABELS[run_map.metric]
    best: tuple[float, MapRow] | None = None
    for row in run_map.rows:
        known = [value for value in row.values if value is not None]
        if known and (best is None or max(known) > best[0]):
            best = (max(known), row)
    if best is None:
        return f"Map of {label}: no neuron has a value."
    return (
        f"Map of {label} over {len(run_map.rows)} layers, neurons ranked within each: the highest bin is "
        f"{theme.number(best[0])}, in block {best[1].layer} {best[1].projection}."
    )


def trend_figure(layers: Sequence[LayerSummary], floor: float | None) -> go.Figure:
    """Median and largest WD of each projection by depth; the Gaussian floor dashed."""
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=("median WD", "largest WD"), horizontal_spacing=0.09
    )
    for place, name in enumerate(dict.fromkeys(layer.projection for layer in layers)):
        rows = [layer for layer in layers if layer.projection == name]
        for column, values in enumerate(([row.wd_median for row in rows], [row.wd_max for row in rows]), 1):
            figure.add_trace(
                go.Scatter(
                    x=[row.layer for row in rows],
                    y=values,
                    name=name,
                    legendgroup=name,
                    showlegend=column == 1,
                    mode="lines+markers",
                    line={"color": theme.PROJECTIONS[place % len(theme.PROJECTIONS)], "width": 2},
                    marker={"symbol": theme.SYMBOLS[place % len(theme.SYMBOLS)], "size": 6},
                    hovertemplate=f"block %{{x}} {name}: %{{y:.3g}}<extra></extra>",
                ),
                row=1,
                col=column,
            )
    if floor is not None:
        figure.add_hline(y=floor, line={"color": theme.GAUSSIAN, "dash": "dash", "width": 1})
    step = max(1, math.ceil(len({layer.layer for layer in layers}) / 8))
    figure.update_xaxes(theme.plain_axis(title={"text": "block", "standoff": 6}, showgrid=False, dtick=step))
    figure.update_yaxes(theme.plain_axis(title={"text": "WD", "standoff": 6}, rangemode="tozero"))
    figure.update_layout(
        theme.plain_layout(
            height=280,
            showlegend=True,
            margin={"l": 56, "r": 16, "t": 56, "b": 44},
            legend={"orientation": "h", "y": 1.32, "x": 0, "yanchor": "top"},
        )
    )
    figure.update_annotations(font={"size": 14})
    return figure


def trend_summary(layers: Sequence[LayerSummary]) -> str:
    """The trend in one sentence."""
    known = [layer for layer in layers if layer.wd_max is not None]
    if not known:
        return "No layer has a WD yet."
    top = max(known, key=lambda layer: layer.wd_max or 0.0)
    return (
        f"WD by depth: the largest is {theme.number(top.wd_max)} in block {top.layer} {top.projection}, "
        f"whose median is {theme.number(top.wd_median)}."
    )


def metric_of(text: str | None) -> Metric:
    """The metric a query names; WD when it names none."""
    return Metric(text) if text in set(Metric) else Metric.wd
