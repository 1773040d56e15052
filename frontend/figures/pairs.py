"""Pairs of tokens: how far apart their inputs are, and how far apart a neuron puts them."""

from __future__ import annotations

import plotly.graph_objects as go

from app.schemas.outputs import NeuronPairs
from frontend import theme


def pairs_figure(found: NeuronPairs) -> go.Figure:
    """A point per drawn pair, both distances normalised as in Eq. 2; the hardest pairs ringed and numbered.

    The line is where a pair adds to MD what the mean pair does: those above it make the neuron hard.
    """
    figure = go.Figure(
        go.Scatter(
            x=found.input_distances,
            y=found.output_distances,
            mode="markers",
            marker={"color": theme.DENSE, "size": 5, "opacity": 0.45},
            hovertemplate="inputs %{x:.3g}, outputs %{y:.3g}<extra></extra>",
        )
    )
    if found.md is not None:
        figure.add_trace(
            go.Scatter(
                x=[0, 1],
                y=[0, found.md],
                mode="lines",
                line={"color": theme.GAUSSIAN, "dash": "dash", "width": 1.5},
                hoverinfo="skip",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[pair.input_distance for pair in found.hardest],
            y=[pair.output_distance for pair in found.hardest],
            text=[str(number) for number in range(1, len(found.hardest) + 1)],
            mode="markers+text",
            textposition="middle right",
            marker={"color": "rgba(0,0,0,0)", "size": 10, "line": {"color": theme.SPARSE, "width": 2}},
            hovertemplate="pair %{text}: inputs %{x:.3g}, outputs %{y:.3g}<extra></extra>",
            cliponaxis=False,
        )
    )
    figure.update_xaxes(
        theme.plain_axis(
            title={"text": "distance of the inputs / largest of the layer", "standoff": 6},
            rangemode="tozero",
        )
    )
    figure.update_yaxes(
        theme.plain_axis(
            title={"text": "distance of the outputs / median", "standoff": 6}, rangemode="tozero"
        )
    )
    figure.update_layout(theme.plain_layout(height=360, margin={"l": 56, "r": 24, "t": 16, "b": 44}))
    return figure


def pairs_summary(found: NeuronPairs) -> str:
    """The scatter in one sentence."""
    if not found.pairs:
        return "Every pair has identical inputs: there is nothing to compare."
    hardest = f" The hardest adds {theme.number(found.hardest[0].difficulty)}." if found.hardest else ""
    return (
        f"{len(found.input_distances):,} of {found.pairs:,} pairs of tokens, distance of their outputs against distance of "
        f"their inputs; MD {theme.number(found.md)}.{hardest}"
    )
