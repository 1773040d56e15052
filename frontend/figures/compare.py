"""Two neurons, layers or runs on shared axes: the page's own in blue, what is pinned in its colour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from app.schemas.layer import LayerSummary, LayerValues, MapRow, RunMap
from app.schemas.neuron import NeuronDetail
from frontend import theme
from frontend.figures.map import map_height, panels

BINS = 60
QUANTILES = np.linspace(0.0, 1.0, 101)
Floats = NDArray[np.float64]
NAMES = ("this", "pinned")
COLOURS = (theme.DENSE, theme.PINNED)


def density(neuron: NeuronDetail, raw: bool) -> tuple[Floats, Floats] | None:
    """Middles of the bins and share of tokens per unit; None for what is constant. Standardised unless `raw`."""
    spread = neuron.distribution
    counts = np.asarray(spread.counts, dtype=float)
    if neuron.constant or spread.high <= spread.low or neuron.std <= 0:
        return None
    edges = np.linspace(spread.low, spread.high, len(counts) + 1)
    if not raw:
        edges = (edges - neuron.mean) / neuron.std
    width = edges[1] - edges[0]
    return (edges[:-1] + edges[1:]) / 2, counts / (max(1.0, counts.sum()) * width)


def neurons_figure(own: NeuronDetail, pinned: NeuronDetail, raw: bool) -> go.Figure:
    """Both distributions as steps whose area is 1; standardised ones beside N(0, 1)."""
    figure = go.Figure()
    for neuron, name, colour in zip((own, pinned), NAMES, COLOURS, strict=True):
        found = density(neuron, raw)
        if found is None:
            continue
        figure.add_trace(
            go.Scatter(
                x=found[0],
                y=found[1],
                name=name,
                mode="lines",
                line={"color": colour, "width": 2, "shape": "hvh"},
                hovertemplate=f"{name} %{{y:.3g}}<extra></extra>",
            )
        )
    if not raw:
        x = np.linspace(-4, 4, 161)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi),
                name="Gaussian",
                mode="lines",
                line={"color": theme.GAUSSIAN, "width": 2, "dash": "dash"},
                hoverinfo="skip",
            )
        )
    words = "output before the activation" if raw else "output, less its mean, over its standard deviation"
    figure.update_xaxes(theme.plain_axis(title={"text": words, "standoff": 6}, hoverformat=".3g"))
    figure.update_yaxes(
        theme.plain_axis(title={"text": "share of tokens per unit", "standoff": 6}, rangemode="tozero")
    )
    return _laid_out(figure, 360)


def layers_figure(own: LayerValues, pinned: LayerValues) -> go.Figure:
    """WD of both layers' neurons in the same bins, as shares of each layer."""
    both = [_known(values) for values in (own, pinned)]
    ends = np.concatenate(both)
    edges = np.linspace(0.0, float(ends.max(initial=0.0)) or 1.0, BINS + 1)
    figure = go.Figure()
    for values, name, colour in zip(both, NAMES, COLOURS, strict=True):
        shares = np.histogram(values, edges)[0] / max(1, len(values))
        figure.add_trace(
            go.Scatter(
                x=(edges[:-1] + edges[1:]) / 2,
                y=shares,
                name=name,
                mode="lines",
                fill="tozeroy",
                fillcolor="rgba(0,114,178,0.15)" if name == "this" else "rgba(204,121,167,0.15)",
                line={"color": colour, "width": 2, "shape": "hvh"},
                hovertemplate=f"{name} %{{y:.2%}} of its neurons<extra></extra>",
            )
        )
    figure.update_xaxes(
        theme.plain_axis(
            title={"text": "WD", "standoff": 6}, hoverformat=".3g", range=[0, float(edges[-1]) * 1.02]
        )
    )
    figure.update_yaxes(
        theme.plain_axis(
            title={"text": "share of the layer's neurons", "standoff": 6},
            tickformat=".0%",
            rangemode="tozero",
        )
    )
    return _laid_out(figure, 340)


def quantile_difference(own: LayerValues, pinned: LayerValues) -> Floats:
    """Quantiles of WD at QUANTILES, this layer's less the pinned one's; nan where one has no WD."""
    both = [_known(values) for values in (own, pinned)]
    if any(not len(values) for values in both):
        return np.full(len(QUANTILES), np.nan)
    return np.asarray(np.quantile(both[0], QUANTILES) - np.quantile(both[1], QUANTILES))


def quantiles_figure(own: LayerValues, pinned: LayerValues) -> go.Figure:
    """The difference of WD at each quantile: above 0 this layer's is larger."""
    apart = quantile_difference(own, pinned)
    figure = go.Figure(
        go.Scatter(
            x=QUANTILES,
            y=apart,
            mode="lines",
            line={"color": theme.DENSE, "width": 2},
            hovertemplate="quantile %{x:.0%}: %{y:+.3g}<extra></extra>",
        )
    )
    figure.add_hline(y=0, line={"color": theme.GAUSSIAN, "width": 1, "dash": "dash"})
    figure.update_xaxes(
        theme.plain_axis(title={"text": "quantile of the layer's neurons", "standoff": 6}, tickformat=".0%")
    )
    figure.update_yaxes(theme.plain_axis(title={"text": "WD, this less pinned", "standoff": 6}))
    return _laid_out(figure, 340)


def _known(values: LayerValues) -> Floats:
    return np.asarray([value for value in values.metrics["wd"] if value is not None], dtype=float)


def differences(own: RunMap, pinned: RunMap) -> dict[tuple[int, str], Floats]:
    """WD of the neurons of equal rank, this run's less the pinned one's, by bins of ranks; nan where unknown."""
    others = {(row.layer, row.projection): row for row in pinned.rows}
    return {
        (row.layer, row.projection): _values(row) - _values(others[row.layer, row.projection])
        for row in own.rows
    }


def _values(row: MapRow) -> Floats:
    return np.asarray([math.nan if value is None else value for value in row.values], dtype=float)


def differences_figure(own: RunMap, pinned: RunMap) -> go.Figure:
    """A panel per projection as in the map; colours are centred on 0, as far on both sides as 99 % of the cells reach."""
    found, names = differences(own, pinned), panels(own)
    every = np.abs(np.concatenate(list(found.values())))
    limit = float(np.nanquantile(every, 0.99)) if np.isfinite(every).any() else 0.0
    limit = limit or 1e-9
    figure = make_subplots(
        rows=1, cols=max(1, len(names)), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.025
    )
    for column, name in enumerate(names, start=1):
        rows = [row for row in own.rows if row.projection == name]
        widest = max(row.neurons for row in rows)
        cells = np.stack([found[row.layer, name] for row in rows])
        edges = 0.5 + np.arange(cells.shape[1] + 1) * widest // cells.shape[1]
        ranks = np.broadcast_to(np.stack([edges[:-1] + 0.5, edges[1:] - 0.5], axis=1), (*cells.shape, 2))
        figure.add_trace(
            go.Heatmap(
                z=cells.astype(np.float32),
                x=edges,
                y=[row.layer for row in rows],
                customdata=ranks.astype(np.int32),
                coloraxis="coloraxis",
                name=name,
                hovertemplate=(
                    f"<b>block %{{y}} · {name}</b><br>rank %{{customdata[0]}} to %{{customdata[1]}}"
                    "<br>WD, this less pinned: %{z:+.3g}<extra></extra>"
                ),
            ),
            row=1,
            col=column,
        )
        figure.update_xaxes(
            theme.plain_axis(
                title={"text": "rank by WD, logarithmic", "standoff": 6},
                showgrid=False,
                type="log",
                dtick=1,
                range=[math.log10(0.5), math.log10(widest + 0.5)],
            ),
            row=1,
            col=column,
        )
    figure.update_yaxes(theme.plain_axis(showgrid=False, tickformat="d"))
    figure.update_yaxes(title={"text": "block", "standoff": 6}, row=1, col=1)
    bar = {"title": {"text": "WD, this<br>less pinned"}, "thickness": 12, "outlinewidth": 0}
    figure.update_layout(
        theme.plain_layout(
            height=map_height(own),
            margin={"l": 48, "r": 8, "t": 28, "b": 44},
            coloraxis={"colorscale": theme.DIFFERENCES, "cmin": -limit, "cmax": limit, "colorbar": bar},
        )
    )
    figure.update_annotations(font={"size": 14})
    return figure


def trends_figure(own: Sequence[LayerSummary], pinned: Sequence[LayerSummary]) -> go.Figure:
    """Median WD by depth, a panel per projection that either run has."""
    names = list(dict.fromkeys(layer.projection for layer in [*own, *pinned]))
    figure = make_subplots(
        rows=1, cols=max(1, len(names)), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.04
    )
    for column, name in enumerate(names, start=1):
        for layers, run, colour, symbol in zip(
            (own, pinned), NAMES, COLOURS, ("circle", "square"), strict=True
        ):
            rows = [layer for layer in layers if layer.projection == name]
            figure.add_trace(
                go.Scatter(
                    x=[row.layer for row in rows],
                    y=[row.wd_median for row in rows],
                    name=run,
                    legendgroup=run,
                    showlegend=column == 1,
                    mode="lines+markers",
                    line={"color": colour, "width": 2},
                    marker={"symbol": symbol, "size": 6},
                    hovertemplate=f"{run}, block %{{x}}: %{{y:.3g}}<extra></extra>",
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(theme.plain_axis(title={"text": "block", "standoff": 6}, showgrid=False))
    figure.update_yaxes(theme.plain_axis(rangemode="tozero"))
    figure.update_yaxes(title={"text": "median WD", "standoff": 6}, row=1, col=1)
    figure = _laid_out(figure, 280)
    figure.update_layout(margin={"l": 56, "r": 16, "t": 56, "b": 44}, legend={"y": 1.32, "yanchor": "top"})
    return figure


def _laid_out(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        theme.plain_layout(
            height=height,
            showlegend=any(trace.name for trace in figure.data),
            margin={"l": 56, "r": 16, "t": 32, "b": 44},
            legend={"orientation": "h", "x": 0, "y": 1.12},
            hovermode="x unified",
        )
    )
    return figure
