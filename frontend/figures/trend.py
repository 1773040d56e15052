"""WD over the depth of a model: medians and quartiles, and how many neurons lie above a common WD."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.schemas.layer import LayerSummary
from frontend import theme

BAND = "rgba(0,114,178,0.22)"
"""The dense colour, faint."""


def trend_figure(layers: Sequence[LayerSummary], floor: float | None, top_share: float) -> go.Figure:
    """A panel per projection: median WD by block over the middle half of the neurons, the threshold of the Wasserstein
    neurons above them, the Gaussian floor dashed."""
    names = list(dict.fromkeys(layer.projection for layer in layers))
    figure = make_subplots(
        rows=1, cols=max(1, len(names)), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.03
    )
    top = f"top {100 * top_share:.3g} % from"
    for column, name in enumerate(names, start=1):
        rows = [layer for layer in layers if layer.projection == name]
        blocks = [row.layer for row in rows]
        common = {"x": blocks, "showlegend": column == 1}
        band = {**common, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": "half"}
        traces = [
            go.Scatter(y=[row.wd_q25 for row in rows], **(band | {"showlegend": False})),
            go.Scatter(
                y=[row.wd_q75 for row in rows], fill="tonexty", fillcolor=BAND, name="middle half", **band
            ),
            _line(common, [row.wd_median for row in rows], "median", theme.DENSE, name),
            _line(common, [row.threshold for row in rows], top, theme.WASSERSTEIN, name, dash="dot"),
        ]
        for trace in traces:
            figure.add_trace(trace, row=1, col=column)
    if floor is not None and layers:
        figure.add_hline(y=floor, line={"color": theme.GAUSSIAN, "dash": "dash", "width": 1})
    _depth(figure, layers, "WD")
    return figure


def share_figure(layers: Sequence[LayerSummary], top_share: float) -> go.Figure:
    """Percent of each layer's neurons of at least the WD that `layers` were counted for, by block and projection; the
    share that every layer's Wasserstein neurons have dotted."""
    figure = make_subplots(rows=1, cols=1)
    for place, name in enumerate(dict.fromkeys(layer.projection for layer in layers)):
        rows = [layer for layer in layers if layer.projection == name]
        figure.add_trace(
            go.Scatter(
                x=[row.layer for row in rows],
                y=[100 * (row.at_least or 0) / max(1, row.neurons) for row in rows],
                customdata=[[row.at_least or 0, row.neurons] for row in rows],
                name=name,
                mode="lines+markers",
                line={"color": theme.PROJECTIONS[place % len(theme.PROJECTIONS)], "width": 2},
                marker={"symbol": theme.SYMBOLS[place % len(theme.SYMBOLS)], "size": 6},
                hovertemplate=f"block %{{x}} {name}: %{{y:.3g}} %"
                "<br>%{customdata[0]:,} of %{customdata[1]:,} neurons<extra></extra>",
            )
        )
    figure.add_hline(y=100 * top_share, line={"color": theme.WASSERSTEIN, "dash": "dot", "width": 1})
    _depth(figure, layers, "share of the layer, %")
    return figure


def _line(
    common: dict[str, object],
    values: list[float | None],
    what: str,
    colour: str,
    name: str,
    dash: str = "solid",
) -> go.Scatter:
    return go.Scatter(
        **common,
        y=values,
        name=what,
        legendgroup=what,
        mode="lines+markers",
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 4},
        hovertemplate=f"block %{{x}} {name}: {what} %{{y:.3g}}<extra></extra>",
    )


def _depth(figure: go.Figure, layers: Sequence[LayerSummary], what: str) -> None:
    step = max(1, math.ceil(len({layer.layer for layer in layers}) / 8))
    figure.update_xaxes(theme.plain_axis(title={"text": "block", "standoff": 6}, showgrid=False, dtick=step))
    figure.update_yaxes(theme.plain_axis(rangemode="tozero"))
    figure.update_yaxes(title={"text": what, "standoff": 6}, row=1, col=1)
    figure.update_layout(
        theme.plain_layout(
            height=280,
            showlegend=True,
            margin={"l": 56, "r": 16, "t": 56, "b": 44},
            legend={"orientation": "h", "y": 1.32, "x": 0, "yanchor": "top"},
        )
    )
    figure.update_annotations(font={"size": 14})


def trend_summary(layers: Sequence[LayerSummary]) -> str:
    """The trend in one sentence."""
    known = [layer for layer in layers if layer.wd_max is not None]
    if not known:
        return "No layer has a WD yet."
    top = max(known, key=lambda layer: layer.wd_median or 0.0)
    low = min(known, key=lambda layer: layer.wd_median or 0.0)
    return (
        f"WD by depth: the highest median is {theme.number(top.wd_median)} in block {top.layer} {top.projection}, the "
        f"lowest {theme.number(low.wd_median)} in block {low.layer} {low.projection}."
    )


def share_summary(layers: Sequence[LayerSummary], min_wd: float) -> str:
    """How many neurons of the model have at least a WD, with the denominator."""
    neurons, above = sum(layer.neurons for layer in layers), sum(layer.at_least or 0 for layer in layers)
    text = f"{above:,} of {neurons:,} neurons, {theme.percent(above / max(1, neurons))}, have a WD of at least {theme.number(min_wd)}."
    if above:
        most = max(layers, key=lambda layer: (layer.at_least or 0) / max(1, layer.neurons))
        share = theme.percent((most.at_least or 0) / max(1, most.neurons))
        text += f" The largest share of a layer is {share}, in block {most.layer} {most.projection}."
    return text


def wasserstein_summary(layers: Sequence[LayerSummary], top_share: float) -> str:
    """How many Wasserstein neurons there are and from which WD on, over all layers."""
    found = [layer for layer in layers if layer.threshold is not None]
    if not found:
        return "No layer has Wasserstein neurons."
    low = min(found, key=lambda layer: layer.threshold or 0.0)
    high = max(found, key=lambda layer: layer.threshold or 0.0)
    return (
        f"Wasserstein neurons are the top {100 * top_share:.3g} % of each layer by WD: "
        f"{sum(layer.wasserstein for layer in layers):,} in all, from WD {theme.number(low.threshold)} in block "
        f"{low.layer} {low.projection} and from {theme.number(high.threshold)} in block {high.layer} {high.projection}."
    )
