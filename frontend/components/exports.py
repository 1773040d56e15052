"""The menu of a card that hands out what the card shows: the call that answers it, its data, its plot."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from frontend import ids
from frontend.queries import Query


def export_menu(card: str, query: Query, origin: str, plot: str | None = None) -> Component:
    """What is copied or downloaded of a card. plot: id of its graph, where it has one.

    Copying and pictures are made by `assets/export.js`, in the browser.
    """
    items: list[Component] = [
        html.A("JSON", href=query.path, target="_blank", rel="noopener", className="export-item"),
        _button("CSV", id=ids.csv(card)),
    ]
    if plot is not None:
        items += [
            _button(name.upper(), **{"data-image": name, "data-plot": plot, "data-name": card})
            for name in ("png", "svg")
        ]
    items += [
        _button("copy as curl", **{"data-copy": query.curl(origin)}),
        _button("copy as Python", **{"data-copy": query.python(origin)}),
    ]
    head = html.Summary(
        "export", title=f"{card}: JSON, CSV, pictures, commands", className="button quiet-button"
    )
    return html.Details([head, html.Div(items, className="export-items")], className="export")


def _button(text: str, **more: Any) -> Component:
    return html.Button(text, type="button", className="export-item", **more)
