"""Pieces every page is made of: cards, plots, tiles, link tabs, and the drawn states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import dcc, html
from dash.development.base_component import Component

from app.errors import WasserscopeError
from frontend import ids, theme

Children: TypeAlias = str | Component | Sequence[Any] | None


def card(title: Children, *children: Children, tools: Children = None, **more: Any) -> Component:
    """A titled surface; `tools` stand at the right of the title. Without both there is no head."""
    if title is None and tools is None:
        return html.Section(list(children), className="card", **more)
    head = html.Div(
        [html.H2(title, className="card-title"), html.Div(tools, className="card-tools")],
        className="card-head",
    )
    return html.Section([head, *children], className="card", **more)


def note(text: Children) -> Component:
    """A sentence of explanation."""
    return html.P(text, className="note")


def graph(name: str, figure: go.Figure, summary: str, brush: bool = False) -> Component:
    """A plot with its summary for screen readers, and its numbers as a table, made when it is opened (plot_table.js).

    brush: a range can be drawn across it.
    """
    height = {"height": f"{figure.layout.height}px"}
    plot = dcc.Graph(
        id=name,
        figure=figure,
        config=theme.BRUSH_CONFIG if brush else theme.GRAPH_CONFIG,
        responsive=True,
        style=height,
    )
    rows = html.Div(
        className="plot-table-rows", role="region", tabIndex="0", **{"aria-label": f"table: {summary}"}
    )
    table = html.Details([html.Summary("Numbers of this plot as a table"), rows], className="plot-table")
    return html.Div([html.Div(plot, role="group", className="plot", **{"aria-label": summary}), table])


def tile(label: str, value: str, full: str = "") -> Component:
    """One number or word with its name; `full` is the whole value, shown on hover."""
    return html.Div(
        [
            html.Div(label, className="tile-label"),
            html.Div(value, className="tile-value", title=full or value),
        ],
        className="tile",
    )


def link(text: Children, href: str, **more: Any) -> Component:
    """A link inside the dashboard: no reload, but a real address."""
    return dcc.Link(text, href=href, **more)


def tabs(label: str, items: Sequence[tuple[str, str, bool]]) -> Component:
    """Links in a row, (text, href, whether it is the present one)."""
    return html.Nav(
        [
            link(text, href, className="tab active" if active else "tab", title="shown now" if active else "")
            for text, href, active in items
        ],
        className="tabs",
        **{"aria-label": label},
    )


def view_select(
    key: str, label: str, data: Sequence[dict[str, Any]], value: str, wide: bool = False
) -> Component:
    """A selector whose value goes into the query of the address; a wide one has long choices."""
    return dmc.Select(
        id=ids.view(key, value),
        data=list(data),
        value=value,
        allowDeselect=False,
        checkIconPosition="right",
        size="sm",
        w=280 if wide else 190,
        maxDropdownHeight=420,
        leftSection=html.Span(label, className="select-label"),
        leftSectionWidth=80,
        comboboxProps={"withinPortal": True} | ({"width": 360, "position": "bottom-end"} if wide else {}),
        **{"aria-label": label},
    )


def button_link(text: str, href: str, primary: bool = False) -> Component:
    """A link that looks like a button."""
    return link(text, href, className="button primary" if primary else "button")


def error_panel(title: str, detail: str, hint: str = "", name: str = ids.ERROR_PANEL) -> Component:
    """What went wrong and what to do; it stays until it is dismissed (keys.js) or the next step takes its place."""
    return html.Section(
        [
            html.Button(
                "×",
                type="button",
                className="dismiss",
                title="dismiss",
                **{"aria-label": "dismiss this error"},
            ),
            html.H2(title, className="card-title"),
            html.P(detail),
            html.P(hint, className="hint") if hint else None,
        ],
        id=name,
        className="card error",
        role="alert",
    )


def error_of(error: WasserscopeError) -> Component:
    """The panel of an error of the service."""
    return error_panel(error.title, error.detail, error.hint)


def empty_state(title: str, *children: Children) -> Component:
    """Nothing here yet, and the next step."""
    return html.Section(
        [html.H2(title, className="card-title"), *children], id=ids.EMPTY_STATE, className="card empty"
    )


def not_found(detail: str, hint: str = "") -> Component:
    """The page that is not there."""
    return html.Section(
        [
            html.H1("Not found", className="page-title"),
            html.P(detail),
            html.P(hint, className="hint") if hint else None,
            button_link("To the map", "/", primary=True),
        ],
        id=ids.NOT_FOUND,
        className="card empty",
    )


def skeleton() -> Component:
    """What a page looks like while its first data are on the way."""
    return html.Div(
        [
            dmc.Skeleton(height=32, width="40%"),
            dmc.Skeleton(height=72),
            dmc.Skeleton(height=380),
            dmc.Skeleton(height=240),
        ],
        className="skeletons",
        **{"aria-label": "loading", "aria-busy": "true"},
    )


def column(*children: Children) -> Component:
    """Cards below each other."""
    return html.Div(list(children), className="column")


def pair(left: Component, right: Component, kind: str = "even") -> Component:
    """Two cards side by side, below each other where there is no room."""
    return html.Div([left, right], className=f"pair {kind}")


def page_title(text: str, *tools: Children, below: Component | None = None) -> Component:
    """The head of a page: its title, tools at the right of it, and a row of its own below."""
    head = html.Div(
        [html.H1(text, className="page-title"), html.Div(list(tools), className="card-tools")],
        className="page-head",
    )
    return head if below is None else html.Div([head, below])
