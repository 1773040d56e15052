"""Experts: the coloured chip that stands for one, and the table of what goes to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_ag_grid as dag
from dash import html
from dash.development.base_component import Component

from app.schemas.expansion import ExpertToken, ExpertTokens
from frontend import ids, theme
from frontend.components.common import note
from frontend.components.neuron_grid import FULL, THEME, THREE_DIGITS
from frontend.components.tokens import one_line, visible

ROW_PIXELS, MOST_ROWS = 32, 16
"""The table is as high as its rows, up to this many; more of them scroll."""


def expert_chip(expert: int) -> Component:
    """The expert's number on its colour."""
    colour = theme.expert_colour(expert)
    return html.Span(
        str(expert),
        className="expert-chip",
        style={"background": colour, "color": theme.ink_on(colour)},
        title=f"expert {expert}",
    )


def experts_table(experts: Sequence[ExpertTokens], wd: Mapping[int, float | None] | None = None) -> Component:
    """A row per expert: its share of the tokens and the commonest. A chosen row's examples come below.

    wd: of this neuron's outputs within each expert, where one neuron is looked at.
    """
    if not experts:
        return note("No experts.")
    grid = dag.AgGrid(
        id=ids.EXPERTS_TABLE,
        columnDefs=_columns(wd is not None),
        rowData=expert_rows(experts, wd),
        defaultColDef={"sortable": True, "suppressMovable": True, "suppressHeaderMenuButton": True},
        getRowId="params.data.key",
        dashGridOptions={
            "theme": THEME,
            "rowHeight": ROW_PIXELS,
            "headerHeight": ROW_PIXELS,
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
            "enableBrowserTooltips": True,
            "animateRows": False,
        },
        style={"height": f"{ROW_PIXELS * (min(len(experts), MOST_ROWS) + 1) + 4}px", "width": "100%"},
        className="neuron-grid",
    )
    return html.Div(
        [
            html.Div(grid, role="region", **{"aria-label": "Experts and their commonest tokens"}),
            html.Div(id=ids.EXPERT_EXAMPLES, **{"aria-live": "polite"}),
            note(
                "Tokens go to the expert whose centroid is nearest to the layer's input. Counts are of calibration tokens. "
                "Click a row for some of them in their text."
            ),
        ]
    )


def expert_rows(
    experts: Sequence[ExpertTokens], wd: Mapping[int, float | None] | None
) -> list[dict[str, Any]]:
    """Rows of the table."""
    largest = max((expert.share for expert in experts), default=0.0)
    return [
        {
            "key": str(expert.expert),
            "expert": expert.expert,
            "tokens": expert.tokens,
            "share": expert.share,
            "largest": largest or 1.0,
            "wd": (wd or {}).get(expert.expert),
            "commonest": [[visible(text), times] for text, times in expert.commonest],
            "colour": theme.expert_colour(expert.expert),
            "ink": theme.ink_on(theme.expert_colour(expert.expert)),
        }
        for expert in experts
    ]


def _columns(with_wd: bool) -> list[dict[str, Any]]:
    wd = {
        "field": "wd",
        "headerName": "WD",
        "type": "rightAligned",
        "width": 84,
        "valueFormatter": THREE_DIGITS,
        "tooltipValueGetter": FULL,
        "headerTooltip": "WD of this neuron's outputs within the expert's tokens.",
    }
    return [
        {"field": "expert", "headerName": "expert", "width": 84, "cellRenderer": "ExpertChip"},
        {
            "field": "tokens",
            "headerName": "tokens",
            "type": "rightAligned",
            "width": 92,
            "valueFormatter": {"function": "d3.format(',')(params.value)"},
        },
        {"field": "share", "headerName": "share", "width": 190, "cellRenderer": "ExpertBar"},
        *([wd] if with_wd else []),
        {
            "field": "commonest",
            "headerName": "commonest tokens and their counts",
            "flex": 1,
            "minWidth": 200,
            "sortable": False,
            "cellDataType": False,
            "cellRenderer": "ExpertWords",
        },
    ]


def expert_examples(expert: ExpertTokens) -> Component:
    """Some of an expert's tokens in their text."""
    head = html.H3(
        [
            expert_chip(expert.expert),
            f" {len(expert.examples)} of its {expert.tokens:,} tokens, evenly spread",
        ],
        className="card-title examples-title",
    )
    return html.Div([head, html.Ol([_example(token) for token in expert.examples], className="tokens")])


def _example(token: ExpertToken) -> Component:
    text = [
        html.Span(html.Bdi(one_line(token.before)), className="before"),
        html.Mark(visible(token.token)),
        html.Span(one_line(token.after), className="after"),
    ]
    return html.Li(html.Span(text, className="context"), title=f"token {token.position:,}")
