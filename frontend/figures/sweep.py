"""A neuron over sparsity and over numbers of experts: distributions on axes that do not move, and curves of the error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from app.schemas.sweep import NeuronSweep, NeuronSweepPoint, SweepRequest
from app.schemas.variant import VariantKind
from frontend import theme
from frontend.figures.neuron import LOG_BOTTOM

PEAK = 2.5
"""The y axis reaches this many times as high as the dense peak at most: at high sparsity nearly all tokens share a bin."""
HEIGHT = 380
CURVES_HEIGHT = 440
NAMES = {VariantKind.pruning: "sparse", VariantKind.expansion: "expanded"}
COLOURS = {VariantKind.pruning: theme.SPARSE, VariantKind.expansion: theme.EXPANDED}
SYMBOLS = {VariantKind.pruning: "square", VariantKind.expansion: "circle"}
Value = Callable[[NeuronSweepPoint], float | None]
PANELS: tuple[tuple[str, Value], ...] = (
    ("RMSE / std", lambda point: point.relative_rmse),
    ("W1 to dense", lambda point: point.w1),
    ("WD to a Gaussian", lambda point: point.wd),
    ("RI", lambda point: point.ri),
)


@dataclass(frozen=True)
class Stop:
    """One place of the slider: an amount of zeros, pruned and expanded."""

    title: str
    """`90 %` or `2:4`."""
    sparse: NeuronSweepPoint
    expanded: NeuronSweepPoint


def stops(found: NeuronSweep) -> list[Stop]:
    """The slider's places by sparsity, a pattern after the plain one of as many zeros."""
    expansions = [point for point in found.points if point.kind is VariantKind.expansion]
    experts = expansions[0].experts  # those at every amount come first
    at_each = {(p.sparsity, p.pattern): p for p in expansions if p.experts == experts}
    made = [
        Stop(p.pattern or f"{100 * p.sparsity:.6g} %", p, at_each[p.sparsity, p.pattern])
        for p in found.points
        if p.kind is VariantKind.pruning
    ]
    return sorted(made, key=lambda stop: (stop.sparse.sparsity, stop.sparse.pattern or ""))


def by_experts(found: NeuronSweep, request: SweepRequest) -> list[NeuronSweepPoint]:
    """The points of the numbers of experts that were tried, by number; empty when fewer than two were."""
    tried = [
        point
        for point in found.points
        if point.kind is VariantKind.expansion
        and (point.sparsity, point.pattern) == (request.at, None)
        and point.experts in request.expert_counts
    ]
    return sorted(tried, key=lambda point: point.experts) if len(tried) > 1 else []


def shown_range(found: NeuronSweep) -> tuple[float, float]:
    """Ends of the x axis: wherever a token falls at any point, and two bins more."""
    every = np.asarray(found.dense) > 0
    for point in found.points:
        every |= np.asarray(point.counts) > 0
    places = np.flatnonzero(every)
    first, last = (int(places[0]), int(places[-1])) if places.size else (0, len(every) - 1)
    width = found.width if found.width > 0 else 1.0
    return found.low + width * (first - 2), found.low + width * (last + 3)


def top(found: NeuronSweep) -> tuple[float, bool]:
    """Tokens at the top of the y axis, the same for every point, and whether some peak is higher."""
    dense = max(1, *found.dense)
    highest = max(dense, *(max(point.counts) for point in found.points))
    return 1.05 * min(highest, PEAK * dense), highest > PEAK * dense


def distribution_figure(found: NeuronSweep, place: int, log: bool) -> go.Figure:
    """Dense as bars behind; sparse and expanded, at one place of the slider, as steps. Axes hold every place."""
    x = found.low + found.width * (np.arange(len(found.dense)) + 0.5)
    width = found.width if found.width > 0 else 1.0
    figure = go.Figure(
        go.Bar(
            x=x,
            y=found.dense,
            width=width,
            name="dense",
            marker={"color": theme.DENSE, "opacity": 0.4, "line": {"width": 0}},
            hovertemplate="dense %{y:,} tokens<extra></extra>",
        )
    )
    stop = stops(found)[place]
    for point in (stop.sparse, stop.expanded):
        counts = np.asarray(point.counts, dtype=float)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=np.maximum(counts, LOG_BOTTOM / 2) if log else counts,
                customdata=counts,
                name=NAMES[point.kind],
                mode="lines",
                line={"color": COLOURS[point.kind], "width": 2, "shape": "hvh"},
                hovertemplate=f"{NAMES[point.kind]} %{{customdata:,}} tokens<extra></extra>",
            )
        )
    highest = max(1, *found.dense, *(max(point.counts) for point in found.points))
    ends = [math.log10(LOG_BOTTOM), math.log10(highest * 1.4)] if log else [0, top(found)[0]]
    title = {"text": "output before the activation", "standoff": 6}
    figure.update_xaxes(theme.plain_axis(title=title, range=list(shown_range(found)), hoverformat=".3g"))
    figure.update_yaxes(
        theme.plain_axis(
            title={"text": "tokens", "standoff": 6},
            type="log" if log else "linear",
            range=ends,
            **({"dtick": 1} if log else {}),
        )
    )
    figure.update_layout(
        theme.plain_layout(
            height=HEIGHT,
            bargap=0,
            hovermode="x unified",
            showlegend=True,
            margin={"l": 56, "r": 16, "t": 32, "b": 44},
            legend={"orientation": "h", "x": 0, "y": 1.1},
        )
    )
    return figure


def curves_figure(found: NeuronSweep, place: int) -> go.Figure:
    """Error, W1, WD and RI against sparsity, a panel each; patterns as stars; a line where the slider stands."""
    every = stops(found)
    plain = [stop for stop in every if stop.sparse.pattern is None]
    patterns = [stop for stop in every if stop.sparse.pattern is not None]
    figure = _panels()
    for number, (_, value) in enumerate(PANELS):
        where = _where(number)
        _reference(figure, number, found, [0.0, 1.0])
        for kind in _kinds(number):
            ends = [stop.sparse if kind is VariantKind.pruning else stop.expanded for stop in plain]
            x = np.array([stop.sparse.sparsity for stop in plain])
            figure.add_trace(_curve(kind, x, ends, value, number), **where)
            stars = [stop.sparse if kind is VariantKind.pruning else stop.expanded for stop in patterns]
            if stars:
                figure.add_trace(_stars(kind, stars, value), **where)
        axis = "" if number == 0 else str(number + 1)
        here = every[place].sparse.sparsity
        line = {"color": theme.GAUSSIAN, "width": 1, "dash": "dot"}
        figure.add_shape(
            type="line", x0=here, x1=here, y0=0, y1=1, xref=f"x{axis}", yref=f"y{axis} domain", line=line
        )
    figure.update_xaxes(theme.plain_axis(tickformat=".0%", range=[-0.03, 1.0], nticks=6))
    return _finished(figure, "sparsity")


def experts_figure(found: NeuronSweep, request: SweepRequest) -> go.Figure:
    """The same against the number of experts at one sparsity; what SparseGPT reaches there as a line across."""
    tried = by_experts(found, request)
    sparse = next(
        point
        for point in found.points
        if point.kind is VariantKind.pruning and (point.sparsity, point.pattern) == (request.at, None)
    )
    names = [str(point.experts) for point in tried]
    figure = _panels()
    for number, (_, value) in enumerate(PANELS):
        where = _where(number)
        _reference(figure, number, found, [names[0], names[-1]])
        if VariantKind.pruning in _kinds(number):
            line = _curve(
                VariantKind.pruning, np.array([names[0], names[-1]]), [sparse, sparse], value, number
            )
            line.mode = "lines"
            figure.add_trace(line, **where)
        figure.add_trace(_curve(VariantKind.expansion, np.array(names), tried, value, number), **where)
    figure.update_xaxes(theme.plain_axis(type="category", categoryorder="array", categoryarray=names))
    return _finished(figure, "experts")


def _panels() -> go.Figure:
    return make_subplots(
        rows=2,
        cols=2,
        subplot_titles=[name for name, _ in PANELS],
        horizontal_spacing=0.14,
        vertical_spacing=0.22,
    )


def _where(number: int) -> dict[str, int]:
    return {"row": number // 2 + 1, "col": number % 2 + 1}


def _kinds(number: int) -> Sequence[VariantKind]:
    """RI is about expansions alone."""
    return [VariantKind.expansion] if PANELS[number][0] == "RI" else list(VariantKind)


def _reference(figure: go.Figure, number: int, found: NeuronSweep, ends: Sequence[float | str]) -> None:
    """What a curve is read against: the dense WD, and RI 1."""
    level = {"WD to a Gaussian": found.wd, "RI": 1.0}.get(PANELS[number][0])
    if level is None:
        return
    dense = PANELS[number][0] != "RI"
    name = "dense" if dense else "as good as sparse"
    figure.add_trace(
        go.Scatter(
            x=list(ends),
            y=[level, level],
            name=name,
            mode="lines",
            showlegend=dense,
            line={
                "color": theme.DENSE if dense else theme.GAUSSIAN,
                "width": 2 if dense else 1,
                "dash": "dash",
            },
            hovertemplate=f"{name} %{{y:.3g}}<extra></extra>",
        ),
        **_where(number),
    )


def _curve(
    kind: VariantKind,
    x: NDArray[np.generic],
    points: Sequence[NeuronSweepPoint],
    value: Value,
    number: int,
) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=[value(point) for point in points],
        customdata=[point.title for point in points],
        name=NAMES[kind],
        legendgroup=NAMES[kind],
        showlegend=number == 0,
        mode="lines+markers",
        line={"color": COLOURS[kind], "width": 2},
        marker={"symbol": SYMBOLS[kind], "size": 7},
        hovertemplate="%{customdata}: %{y:.3g}<extra></extra>",
    )


def _stars(kind: VariantKind, points: Sequence[NeuronSweepPoint], value: Value) -> go.Scatter:
    return go.Scatter(
        x=[point.sparsity for point in points],
        y=[value(point) for point in points],
        customdata=[point.title for point in points],
        name=", ".join(point.pattern or "" for point in points),
        legendgroup=NAMES[kind],
        showlegend=False,
        mode="markers",
        marker={
            "symbol": "star-open",
            "size": 12,
            "color": COLOURS[kind],
            "line": {"width": 2, "color": COLOURS[kind]},
        },
        hovertemplate="%{customdata}: %{y:.3g}<extra></extra>",
    )


def _finished(figure: go.Figure, title: str) -> go.Figure:
    figure.update_yaxes(theme.plain_axis(rangemode="tozero", nticks=5))
    for column in (1, 2):
        figure.update_xaxes(title={"text": title, "standoff": 6}, row=2, col=column)
    figure.update_annotations(font={"size": 12})
    figure.update_layout(
        theme.plain_layout(
            height=CURVES_HEIGHT,
            showlegend=True,
            margin={"l": 48, "r": 8, "t": 64, "b": 44},
            legend={"orientation": "h", "x": 0, "y": 1.2},
        )
    )
    return figure


def stop_words(found: NeuronSweep, stop: Stop) -> str:
    """One place of the slider in a sentence."""
    parts = []
    for point in (stop.sparse, stop.expanded):
        ri = "" if point.ri is None else f", RI {theme.number(point.ri)}"
        parts.append(
            f"{point.title}: WD {theme.number(point.wd)}, W1 to dense {theme.number(point.w1)}, error "
            f"{theme.percent(point.relative_rmse)} of the outputs' spread{ri}"
        )
    return f"{'; '.join(parts)}. Dense WD {theme.number(found.wd)}, {found.tokens:,} tokens."


def distribution_summary(found: NeuronSweep, stop: Stop) -> str:
    """The plot in one sentence."""
    return f"Outputs on axes that are the same at every sparsity. {stop_words(found, stop)}"


def curves_summary(found: NeuronSweep) -> str:
    """The curves against sparsity in one sentence."""
    every = stops(found)
    first, last = every[0], every[-1]
    return (
        f"Error, W1, WD and RI from {first.title} to {last.title}: sparse error {theme.number(first.sparse.rmse)} to "
        f"{theme.number(last.sparse.rmse)}, expanded {theme.number(first.expanded.rmse)} to "
        f"{theme.number(last.expanded.rmse)}; the table has every value."
    )


def experts_summary(found: NeuronSweep, request: SweepRequest) -> str:
    """The curves against the number of experts in one sentence."""
    words = [f"{p.experts} experts RMSE {theme.number(p.rmse)}" for p in by_experts(found, request)]
    return f"At {100 * request.at:.6g} % sparsity: {', '.join(words)}."
