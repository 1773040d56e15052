"""A neuron: the histogram of its outputs and the Gaussian of the same mean and standard deviation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.schemas.neuron import NeuronDetail
from frontend import theme
from frontend.figures.shown import BRUSH, RAW, Axis, Shown, joined, range_shapes

CURVE_POINTS = 400
LOG_BOTTOM = 0.7
"""Lowest count shown on a log axis: a little under one token."""


def distribution_figure(neuron: NeuronDetail, log: bool, shown: Shown = RAW) -> go.Figure:
    """Tokens per bin of the signed output, with the Gaussian dashed grey; a range can be brushed across it."""
    spread, axis = neuron.distribution, Axis.of(shown, neuron.mean, neuron.std)
    counts = joined(np.asarray(spread.counts, dtype=np.int32), len(spread.counts), shown.bins)
    edges = axis.at(np.linspace(spread.low, spread.high, len(counts) + 1))
    width = float(edges[1] - edges[0]) if spread.high > spread.low else 1.0
    figure = go.Figure(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=width,
            name="outputs",
            marker={"color": theme.DENSE, "opacity": 0.55, "line": {"width": 0}},
            hovertemplate="output about %{x:.3g}: %{y} tokens<extra></extra>",
        )
    )
    top, ends = float(counts.max(initial=1)), (float(edges[0]), float(edges[-1]))
    if neuron.std > 0:
        mean, std = axis.at(neuron.mean), neuron.std / axis.std
        x = np.linspace(min(ends[0], mean - 4 * std), max(ends[1], mean + 4 * std), CURVE_POINTS)
        scale = int(counts.sum()) * width / (std * math.sqrt(2 * math.pi))
        y = scale * np.exp(-0.5 * ((x - mean) / std) ** 2)
        top, ends = max(top, float(y.max())), (float(x[0]), float(x[-1]))
        figure.add_trace(
            go.Scatter(
                x=x.astype(np.float32),
                y=np.where(y > LOG_BOTTOM / 10, y, np.nan) if log else y,
                name="Gaussian of the same mean and std",
                mode="lines",
                line={"color": theme.GAUSSIAN, "dash": "dash", "width": 2},
                hoverinfo="skip",
            )
        )
    figure.update_xaxes(theme.plain_axis(title={"text": axis.title, "standoff": 6}))
    figure.update_yaxes(tokens_axis(log, top))
    figure.update_layout(
        theme.plain_layout(
            height=400,
            bargap=0,
            showlegend=True,
            margin={"l": 56, "r": 16, "t": 32, "b": 44},
            legend={"orientation": "h", "x": 0, "y": 1.1},
            shapes=range_shapes(shown, axis, ends),
            **BRUSH,
        )
    )
    return figure


def tokens_axis(log: bool, top: float) -> dict[str, Any]:
    """The y axis of a histogram, in tokens, up to a little above `top`."""
    return theme.plain_axis(
        title={"text": "tokens", "standoff": 6},
        type="log" if log else "linear",
        range=[math.log10(LOG_BOTTOM), math.log10(top * 1.4)] if log else [0, top * 1.05],
        **({"dtick": 1} if log else {}),
    )


def distribution_summary(neuron: NeuronDetail) -> str:
    """The distribution in one sentence."""
    tokens = sum(neuron.distribution.counts)
    if neuron.constant:
        return f"The output is {theme.number(neuron.mean)} for each of {tokens:,} tokens."
    return (
        f"Outputs for {tokens:,} tokens, from {theme.number(neuron.distribution.low)} to "
        f"{theme.number(neuron.distribution.high)}, mean {theme.number(neuron.mean)}, standard deviation "
        f"{theme.number(neuron.std)}, WD to a Gaussian {theme.number(neuron.wd)}."
    )
