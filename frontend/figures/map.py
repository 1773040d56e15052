"""The Wasserstein map, or a part of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.schemas.layer import MapRow, RunMap
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
            theme.plain_axis(showgrid=False, **_ranks(rows, label, logarithmic(run_map))), row=1, col=column
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


def logarithmic(run_map: RunMap) -> bool:
    """Whether ranks are drawn logarithmically: where they span a decade or more."""
    return any(row.last_rank >= 10 * row.first_rank for row in run_map.rows)


def _ranks(rows: Sequence[MapRow], label: str, log: bool) -> dict[str, Any]:
    """The axis of a panel's ranks."""
    first, last = min(row.first_rank for row in rows), max(row.last_rank for row in rows)
    if log:
        ends = [math.log10(first - 0.5), math.log10(last + 0.5)]
        title = {"text": f"rank by {label}, logarithmic", "standoff": 6}
        return {"title": title, "type": "log", "dtick": 1, "range": ends}
    title = {"text": f"rank by {label}", "standoff": 6}
    return {"title": title, "tickformat": ",d", "nticks": 8, "range": [first - 0.5, last + 0.5]}


def shown_part(run_map: RunMap) -> dict[str, Any]:
    """Blocks, and ranks by panel, that the map shows: first and last of each."""
    layers = [row.layer for row in run_map.rows]
    ranks = {
        name: [
            min(row.first_rank for row in run_map.rows if row.projection == name),
            max(row.last_rank for row in run_map.rows if row.projection == name),
        ]
        for name in panels(run_map)
    }
    return {"blocks": [min(layers, default=0), max(layers, default=0)], "ranks": ranks}


def single(run_map: RunMap) -> bool:
    """Whether each cell is one neuron."""
    return all(row.last_rank - row.first_rank < len(row.values) for row in run_map.rows)


def map_colours(run_map: RunMap) -> Colours:
    """The scale of the map; cells beyond its ends have the colour at the end."""
    known = [value for row in run_map.rows for value in row.values if value is not None]
    return Colours.of(run_map.metric, np.asarray(known, dtype=float), COLOUR_SHARES)


def _panel(rows: Sequence[MapRow], name: str, label: str, colours: Colours) -> go.Heatmap:
    widest = max(row.last_rank - row.first_rank + 1 for row in rows)
    bins = max(len(row.values) for row in rows)
    values = np.full((len(rows), bins), np.nan, dtype=np.float32)
    hover = np.zeros((len(rows), bins, 3), dtype=np.int32)
    for place, row in enumerate(rows):
        count = len(row.values)
        values[place, :count] = [np.nan if value is None else value for value in row.values]
        ranks = row.last_rank - row.first_rank + 1
        start = np.arange(count) * ranks // count
        stop = np.maximum((np.arange(count) + 1) * ranks // count, start + 1)
        first = row.first_rank
        hover[place, :count] = np.stack([first + start, first + stop - 1, np.asarray(row.leaders)], axis=1)
    exact = colours.logarithmic
    value = "%{customdata[3]:.3g}" if exact else "%{z:.3g}"
    return go.Heatmap(
        z=colours.cells(values),
        x=rows[0].first_rank - 0.5 + np.arange(bins + 1) * widest // bins,
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
        x=[row.last_rank - row.first_rank + 1 for row in rows],
        base=[row.first_rank - 0.5 for row in rows],
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
