"""The Wasserstein map and the trend of WD over depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.schemas.layer import LayerSummary, MapRow, RunMap
from frontend import theme
from frontend.figures.metrics import Colours

Undone = Mapping[tuple[int, str], str]
"""Layers (block, projection) whose neurons have no value yet, and why."""
NONE_UNDONE: Undone = MappingProxyType({})

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


def map_figure(run_map: RunMap, undone: Undone = NONE_UNDONE) -> go.Figure:
    """One panel per projection: a row per block, neurons from the highest rank at the left, colour = mean of a bin.

    A cell's `customdata` holds the first and last rank of its bin (from 1), the leading neuron's index, and, where
    colours are logarithmic, the value. Rows of `undone` are hatched. Traces carry the names of their projections.
    """
    names, colours = panels(run_map), map_colours(run_map)
    label = theme.LABELS[run_map.metric]
    figure = make_subplots(
        rows=1, cols=max(1, len(names)), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.025
    )
    for column, name in enumerate(names, start=1):
        rows = [row for row in run_map.rows if row.projection == name]
        figure.add_trace(_panel(rows, name, label, colours), row=1, col=column)
        hatched = [row for row in rows if (row.layer, name) in undone]
        if hatched:
            figure.add_trace(_hatched(hatched, undone), row=1, col=column)
        figure.update_xaxes(
            theme.plain_axis(
                title={"text": f"rank by {label}, logarithmic", "standoff": 6},
                showgrid=False,
                type="log",
                dtick=1,
                range=[math.log10(0.5), math.log10(max(row.neurons for row in rows) + 0.5)],
            ),
            row=1,
            col=column,
        )
        depths = [row.layer for row in rows]
        figure.update_yaxes(
            theme.plain_axis(showgrid=False, tickformat="d", range=[min(depths) - 0.5, max(depths) + 0.5]),
            row=1,
            col=column,
        )
    figure.update_yaxes(title={"text": "block", "standoff": 6}, row=1, col=1)
    low, high = colours.ends
    axis = {"colorscale": colours.scale, "cmin": low, "cmax": high, "colorbar": colours.bar()}
    figure.update_layout(
        theme.plain_layout(
            height=map_height(run_map),
            margin={"l": 48, "r": 8, "t": 28, "b": 44},
            bargap=0,
            coloraxis=axis,
        )
    )
    figure.update_annotations(font={"size": 14})
    return figure


def map_colours(run_map: RunMap) -> Colours:
    """The scale of the map; cells beyond its ends have the colour at the end."""
    known = [value for row in run_map.rows for value in row.values if value is not None]
    return Colours.of(run_map.metric, np.asarray(known, dtype=float), COLOUR_SHARES)


def _panel(rows: Sequence[MapRow], name: str, label: str, colours: Colours) -> go.Heatmap:
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
    exact = colours.logarithmic
    value = "%{customdata[3]:.3g}" if exact else "%{z:.3g}"
    return go.Heatmap(
        z=colours.cells(values),
        x=0.5 + np.arange(bins + 1) * widest // bins,
        y=[row.layer for row in rows],
        customdata=np.concatenate([hover, values[:, :, None]], axis=2) if exact else hover,
        coloraxis="coloraxis",
        name=name,
        hoverongaps=False,
        hovertemplate=(
            f"<b>block %{{y}} · {name}</b><br>rank %{{customdata[0]}} to %{{customdata[1]}}"
            f"<br>{label} {value}<br>leading neuron %{{customdata[2]}}<extra></extra>"
        ),
    )


def _hatched(rows: Sequence[MapRow], undone: Undone) -> go.Bar:
    """Rows without a value: drawn as such, and still to be clicked."""
    return go.Bar(
        orientation="h",
        y=[row.layer for row in rows],
        x=[row.neurons for row in rows],
        base=0.5,
        width=1,
        name=rows[0].projection,
        customdata=[undone[row.layer, row.projection] for row in rows],
        marker={
            "color": "rgba(127,127,127,0.06)",
            "line": {"width": 0},
            "pattern": {"shape": "/", "fgcolor": "rgba(127,127,127,0.6)", "size": 7, "solidity": 0.16},
        },
        hovertemplate=f"<b>block %{{y}} · {rows[0].projection}</b><br>%{{customdata}}<extra></extra>",
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
