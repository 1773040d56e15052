"""What pruning and expansion did to a neuron: all distributions on shared bins, and each expert's share of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from app.schemas.distribution import ExpertOutputs, NeuronDistributions
from frontend import theme
from frontend.figures.neuron import LOG_BOTTOM, tokens_axis
from frontend.figures.shown import BRUSH, RAW, Axis, Shown, joined, range_shapes

INNER_BINS = 128
"""Shared bins over the range of the dense outputs."""
GAUSSIAN_SHOWN = 0.5
"""The axis reaches as far as the Gaussian has this many tokens in a bin."""
MOST_PANELS = 64
"""Experts drawn at once; of more, the largest."""
PANEL_PIXELS = {1: 320, 2: 220, 3: 168, 4: 132}
"""Height of a row of panels by the number of rows; lower rows beyond."""


@dataclass(frozen=True)
class Series:
    """One distribution of the overlay."""

    name: str
    title: str
    colour: str
    counts: NDArray[np.float64]


def series(found: NeuronDistributions) -> list[Series]:
    """Dense, then what was asked for, in the order of the legend; the Gaussian last."""
    made = [Series("dense", "the model as it is", theme.DENSE, np.asarray(found.dense, dtype=float))]
    for name, colour, changed in (
        ("sparse", theme.SPARSE, found.pruning),
        ("expanded", theme.EXPANDED, found.expansion),
    ):
        if changed is not None:
            made.append(Series(name, changed.title, colour, np.asarray(changed.counts, dtype=float)))
    if found.std > 0:
        words = "the dense mean and standard deviation"
        made.append(Series("Gaussian", words, theme.GAUSSIAN, np.asarray(found.gaussian, dtype=float)))
    return made


def centres(found: NeuronDistributions) -> NDArray[np.float64]:
    """Middle of each shared bin."""
    return np.asarray(found.low + found.width * (np.arange(len(found.dense)) + 0.5), dtype=float)


def shown_range(found: NeuronDistributions) -> tuple[float, float]:
    """Ends of the x axis: wherever a token falls or the Gaussian is to be seen, and two bins more."""
    every = np.zeros(len(found.dense), dtype=bool)
    for one in series(found):
        every |= one.counts > (GAUSSIAN_SHOWN if one.name == "Gaussian" else 0)
    places = np.flatnonzero(every)
    first, last = (int(places[0]), int(places[-1])) if places.size else (0, len(every) - 1)
    width = found.width if found.width > 0 else 1.0
    return found.low + width * (first - 2), found.low + width * (last + 3)


def overlay_figure(found: NeuronDistributions, log: bool, shown: Shown = RAW) -> go.Figure:
    """Dense as bars, sparse and expanded as steps, the Gaussian dashed; a click in the legend hides one, and a range can
    be brushed across it. Standardised means: by the dense mean and standard deviation."""
    figure, axis = go.Figure(), Axis.of(shown, found.mean, found.std)
    lines = [replace(one, counts=joined(one.counts, INNER_BINS, shown.bins)) for one in series(found)]
    width = found.width * (len(found.dense) / len(lines[0].counts)) / axis.std
    x = axis.at(found.low) + width * (np.arange(len(lines[0].counts)) + 0.5)
    for one in lines:
        figure.add_trace(_bars(one, x, width) if one.name == "dense" else _line(one, x, log))
    top = max(float(one.counts.max(initial=1.0)) for one in lines)
    ends = tuple(float(axis.at(end)) for end in shown_range(found))
    title = {"text": axis.title, "standoff": 6}
    figure.update_xaxes(theme.plain_axis(title=title, range=list(ends), hoverformat=".3g"))
    figure.update_yaxes(tokens_axis(log, top))
    figure.update_layout(
        theme.plain_layout(
            height=400,
            bargap=0,
            hovermode="x unified",
            showlegend=True,
            margin={"l": 56, "r": 16, "t": 32, "b": 44},
            legend={"orientation": "h", "x": 0, "y": 1.1},  # left: the mode bar comes at the right
            shapes=range_shapes(shown, axis, (ends[0], ends[1])),
            **BRUSH,
        )
    )
    return figure


def _bars(one: Series, x: NDArray[np.float64], width: float) -> go.Bar:
    return go.Bar(
        x=x,
        y=one.counts,
        width=width if width > 0 else 1.0,
        name=one.name,
        marker={"color": one.colour, "opacity": 0.4, "line": {"width": 0}},
        hovertemplate=f"{one.name} %{{y:,}} tokens<extra></extra>",
    )


def _line(one: Series, x: NDArray[np.float64], log: bool) -> go.Scatter:
    gaussian = one.name == "Gaussian"
    return go.Scatter(
        x=x,
        # An empty bin is below a logarithmic axis, not missing: the steps go down to it and up again.
        y=np.maximum(one.counts, LOG_BOTTOM / 2) if log and not gaussian else _seen(one.counts, log),
        customdata=one.counts,
        name=one.name,
        mode="lines",
        line={
            "color": one.colour,
            "width": 2,
            "dash": "dash" if gaussian else "solid",
            "shape": "linear" if gaussian else "hvh",
        },
        hovertemplate=f"{one.name} %{{customdata:,.4~r}} tokens<extra></extra>",
    )


def _seen(counts: NDArray[np.float64], log: bool) -> NDArray[np.float64]:
    return np.where(counts > LOG_BOTTOM / 10, counts, np.nan) if log else counts


def overlay_summary(found: NeuronDistributions) -> str:
    """The overlay in one sentence."""
    words = [f"dense WD {theme.number(found.wd)}"]
    for name, changed in (("sparse", found.pruning), ("expanded", found.expansion)):
        if changed is not None:
            words.append(f"{name} WD {theme.number(changed.wd)}, W1 to dense {theme.number(changed.w1)}")
    ri = "" if found.ri is None else f" RI {theme.number(found.ri)}."
    return f"Outputs for {found.tokens:,} tokens on shared bins: {'; '.join(words)}.{ri}"


def beyond(found: NeuronDistributions) -> str:
    """A sentence on tokens further out than the bins reach; empty when there are none."""
    words = []
    for name, changed in (("sparse", found.pruning), ("expanded", found.expansion)):
        out = changed.counts[0] + changed.counts[-1] if changed is not None and changed.counts else 0
        if out:
            words.append(f"{out:,} {name}")
    return f"The outermost bins also hold what lies beyond them ({', '.join(words)})." if words else ""


def drawn_experts(experts: Sequence[ExpertOutputs]) -> list[ExpertOutputs]:
    """The experts that get a panel, in the order of their numbers."""
    if len(experts) <= MOST_PANELS:
        return list(experts)
    largest = sorted(experts, key=lambda expert: -expert.tokens)[:MOST_PANELS]
    return sorted(largest, key=lambda expert: expert.expert)


def panel_shape(panels: int) -> tuple[int, int]:
    """Rows and columns: 4 by 4 for 16, at most 8 in a row."""
    columns = min(8, max(1, math.ceil(math.sqrt(panels))))
    return max(1, math.ceil(panels / columns)), columns


def experts_figure(found: NeuronDistributions) -> go.Figure:
    """A panel per expert on the same axes: its outputs in its colour, all dense outputs as a grey outline behind.

    Each histogram is drawn in shares of its own tokens, so that shapes compare whatever the sizes.
    """
    experts = drawn_experts(found.expansion.experts if found.expansion else [])
    rows, columns = panel_shape(len(experts))
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes=True,
        shared_yaxes=True,
        subplot_titles=[_panel_title(expert, columns) for expert in experts],
        horizontal_spacing=0.02 if columns <= 4 else 0.012,
        vertical_spacing=min(0.14, 0.3 / rows),
    )
    x, dense = centres(found), _shares(found.dense)
    tops = [float(dense.max(initial=0.0))]
    for place, expert in enumerate(experts):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        shares = _shares(expert.counts)
        tops.append(float(shares.max(initial=0.0)))
        outline = {"color": theme.GAUSSIAN, "width": 1, "shape": "hvh"}
        figure.add_trace(go.Scatter(x=x, y=dense, mode="lines", line=outline, hoverinfo="skip"), **where)
        figure.add_trace(_panel(expert, x, shares), **where)
    figure.update_xaxes(
        theme.plain_axis(range=list(shown_range(found)), showgrid=False, nticks=5, automargin=False)
    )
    figure.update_yaxes(theme.plain_axis(range=[0, _top(tops)], nticks=4, tickformat=".0%"))
    height = PANEL_PIXELS.get(rows, 112) * rows + 72
    figure.update_layout(theme.plain_layout(height=height, margin={"l": 64, "r": 8, "t": 24, "b": 48}))
    figure.update_annotations(font={"size": 12})
    _axis_titles(figure, "share of the expert's tokens")
    return figure


def stacked_figure(found: NeuronDistributions) -> go.Figure:
    """The experts' outputs on top of each other, in tokens: together they are the expanded neuron. Dense as an outline."""
    experts = drawn_experts(found.expansion.experts if found.expansion else [])
    figure, x = go.Figure(), centres(found)
    for expert in experts:
        colour = theme.expert_colour(expert.expert)
        figure.add_trace(
            go.Bar(
                x=x,
                y=expert.counts,
                width=found.width if found.width > 0 else 1.0,
                name=str(expert.expert),
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate=f"<b>expert {expert.expert}</b><br>output about %{{x:.3g}}: %{{y:,}} tokens<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=x,
            y=found.dense,
            name="dense",
            mode="lines",
            line={"color": theme.DENSE, "width": 2, "shape": "hvh"},
            hoverinfo="skip",
        )
    )
    title = {"text": "output before the activation", "standoff": 6}
    figure.update_xaxes(theme.plain_axis(title=title, range=list(shown_range(found))))
    figure.update_yaxes(theme.plain_axis(title={"text": "tokens", "standoff": 6}, rangemode="tozero"))
    figure.update_layout(
        theme.plain_layout(
            height=460,
            barmode="stack",
            bargap=0,
            showlegend=True,
            legend={"title": {"text": "expert"}, "traceorder": "normal"},
        )
    )
    return figure


def _axis_titles(figure: go.Figure, y: str) -> None:
    common = {"xref": "paper", "yref": "paper", "showarrow": False, "font": {"size": 12}}
    figure.add_annotation(
        text="output before the activation", x=0.5, y=0, yshift=-40, yanchor="bottom", **common
    )
    figure.add_annotation(text=y, x=0, y=0.5, xshift=-56, xanchor="center", textangle=-90, **common)


def _top(tops: Sequence[float]) -> float:
    """End of the y axis. A tiny expert is a spike: the axis follows the others, three in four of them."""
    return 1.1 * max(tops[0], float(np.quantile(tops, 0.75)))


def _shares(counts: Sequence[int]) -> NDArray[np.float64]:
    values = np.asarray(counts, dtype=float)
    return values / max(1.0, float(values.sum()))


def _panel(expert: ExpertOutputs, x: NDArray[np.float64], y: NDArray[np.float64]) -> go.Scatter:
    colour = theme.expert_colour(expert.expert)
    return go.Scatter(
        x=x,
        y=y,
        customdata=expert.counts,
        name=f"expert {expert.expert}",
        mode="lines",
        fill="tozeroy",
        fillcolor=colour + "80",
        line={"color": colour, "width": 1.5, "shape": "hvh"},
        hovertemplate=f"<b>expert {expert.expert}</b><br>output about %{{x:.3g}}: %{{customdata:,}} tokens<extra></extra>",
    )


def _panel_title(expert: ExpertOutputs, columns: int) -> str:
    wd = "no WD" if expert.wd is None else f"WD {theme.number(expert.wd)}"
    if columns <= 5:
        return f"<b>{expert.expert}</b>  {expert.tokens:,} tokens, {wd}"
    return f"<b>{expert.expert}</b>  {expert.tokens:,} · {wd.removeprefix('WD ')}"


def experts_summary(found: NeuronDistributions) -> str:
    """The panels in one sentence."""
    if found.expansion is None or not found.expansion.experts:
        return "No experts."
    sizes = [expert.tokens for expert in found.expansion.experts]
    known = [(expert.wd, expert.expert) for expert in found.expansion.experts if expert.wd is not None]
    words = f"Outputs of {len(sizes)} experts of {min(sizes):,} to {max(sizes):,} tokens"
    if not known:
        return f"{words}; none has a WD."
    lowest, highest = min(known), max(known)
    return (
        f"{words}: WD from {theme.number(lowest[0])} (expert {lowest[1]}) to {theme.number(highest[0])} "
        f"(expert {highest[1]}), weighted by their tokens {theme.number(found.expansion.weighted_wd)}."
    )
