"""Two metrics of a layer's neurons against each other."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.schemas.layer import Correlation, LayerValues, Metric
from frontend import theme
from frontend.figures import marks

MOST_SHAPES = 4000
"""Points that are drawn as shapes; more are drawn by the graphics card."""


def scatter_figure(
    values: LayerValues, x: Metric, y: Metric, threshold: float, selected: int | None
) -> go.Figure:
    """A point per neuron that has both metrics; traces as in `marks`, `customdata` the neuron's index.

    values: with WD, `x` and `y`.
    """
    across, up = marks.metric_values(values, x), marks.metric_values(values, y)
    large = values.neurons > MOST_SHAPES
    lines = (
        f"<br>{theme.LABELS[x]} %{{x:.3g}}" + f"<br>{theme.LABELS[y]} %{{y:.3g}}"
        if x is not y
        else f"<br>{theme.LABELS[x]} %{{x:.3g}}"
    )
    drawn_as = (
        go.Scattergl if large else go.Scatter
    )  # all the same: shapes would lie below the graphics card's points
    points = drawn_as(
        x=across,
        y=up,
        customdata=np.arange(values.neurons),
        mode="markers",
        name="neurons",
        marker={"color": theme.DENSE, "size": 4 if large else 6, "opacity": 0.45, "line": {"width": 0}},
        hovertemplate=f"<b>neuron %{{customdata:d}}</b>{lines}<extra></extra>",
    )
    outlined = marks.drawn(marks.above(values, threshold))
    chosen = [] if selected is None else [selected]
    figure = go.Figure(
        [
            points,
            marks.marked_trace(
                across[outlined], up[outlined], outlines=False, size=5 if large else 7, large=large
            ),
            marks.selected_trace(across[chosen], up[chosen], large),
        ]
    )
    figure.update_xaxes(theme.plain_axis(title={"text": theme.LABELS[x], "standoff": 6}))
    figure.update_yaxes(theme.plain_axis(title={"text": theme.LABELS[y], "standoff": 6}))
    figure.update_layout(theme.plain_layout(height=400, margin={"l": 64, "r": 16, "t": 8, "b": 44}))
    return figure


def correlation_words(found: Correlation) -> str:
    """How the two go together, and over how many neurons."""
    if found.pearson is None or found.spearman is None:
        return f"No correlation: over {found.n:,} neurons one of both does not vary."
    return (
        f"Pearson {theme.number(found.pearson)}, Spearman {theme.number(found.spearman)} (ranks), over {found.n:,} "
        "neurons that have both."
    )


def scatter_summary(found: Correlation) -> str:
    """The scatter in one sentence."""
    return f"{theme.LABELS[found.x]} against {theme.LABELS[found.y]}, a point per neuron. {correlation_words(found)}"
