"""How many neurons lie above a WD that is common to all layers: a slider, a sentence and the share by depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.layer import LayerSummary
from app.schemas.run import Run
from frontend import ids
from frontend.components.common import card, graph, note
from frontend.figures import trend

STEPS = 200
"""Places of a slider from 0 to the largest WD."""


def wd_slider(name: str, value: float, most: float, label: str) -> Component:
    """A slider over WD."""
    step = most / STEPS or 1.0
    return dmc.Slider(
        id=name,
        value=value,
        min=0,
        max=most or 1.0,
        step=step,
        precision=4,
        updatemode="mouseup",
        size="sm",
        w=260,
        thumbLabel=label,
    )


def wanted_wd(query: Mapping[str, str], key: str, layers: Sequence[LayerSummary]) -> float:
    """The WD that a query names, else the median of the layers' own thresholds."""
    known = [layer.threshold for layer in layers if layer.threshold is not None]
    default = float(f"{median(known):.3g}") if known else 0.0
    return number_of(query.get(key), default)


def number_of(text: str | None, default: float) -> float:
    """A number of a query that is neither negative nor endless; `default` where it is no such thing."""
    try:
        value = float(text or "")
    except ValueError:
        return default
    return value if 0 <= value < float("inf") else default


def share_card(
    run: Run, layers: Sequence[LayerSummary], counted: Sequence[LayerSummary], wd: float
) -> Component:
    """The card; `counted` are the layers with what lies above `wd`."""
    most = max((layer.wd_max or 0.0 for layer in layers), default=0.0)
    return card(
        "Above a common WD",
        html.Div(
            share_body(counted, wd, run.request.top_share), id=ids.SHARE_BODY, **{"aria-live": "polite"}
        ),
        note(trend.wasserstein_summary(layers, run.request.top_share)),
        dcc.Store(
            id=ids.SHARE_RUN,
            data={
                "run": run.id,
                "top_share": run.request.top_share,
                "usual": wanted_wd({}, "wd", layers),
                "most": most,
            },
        ),
        tools=[
            html.Span("WD of at least", className="muted small"),
            wd_slider(ids.SHARE_SLIDER, min(wd, most), most, "WD that counts as above"),
        ],
    )


def same_wd(one: float, other: float, most: float) -> bool:
    """Whether a slider up to `most` shows both at the same place."""
    return abs(min(one, most) - min(other, most)) < most / STEPS / 2


def share_body(counted: Sequence[LayerSummary], wd: float, top_share: float) -> list[Component]:
    """The sentence and the share by depth."""
    text = trend.share_summary(counted, wd)
    return [
        html.P(text, className="headline"),
        graph(ids.SHARE_GRAPH, trend.share_figure(counted, top_share), text),
    ]
