"""What is pinned: named on every page, set and let go by a link, which `p` follows."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from frontend import ids, paths, theme
from frontend.components.common import link
from frontend.paths import Place

KINDS = {"map": "run", "layer": "layer", "neuron": "neuron"}
"""What can be pinned, by its page."""


def words(place: Place) -> str:
    """A pinned neuron, layer or run in words."""
    if place.page == "neuron":
        return f"neuron {place.index} of block {place.layer} · {place.projection}"
    return f"block {place.layer} · {place.projection}" if place.page == "layer" else f"run {place.run}"


def swatch() -> Component:
    """The colour of what is pinned."""
    return html.Span(className="swatch", style={"background": theme.PINNED})


def pin_tools(place: Place) -> list[Component]:
    """Beside the breadcrumbs: what is pinned, and the link that pins this page's subject or lets go of the pin."""
    text, own = place.query.get(paths.PIN), paths.pin_of(place)
    pinned = paths.read_pin(text)
    query: dict[str, str | None] = dict(place.query)
    parts: list[Component] = []
    if pinned is not None:
        there = paths.with_query(paths.path_of(pinned), {paths.PIN: text})
        parts.append(
            link(
                [swatch(), f"pinned: {words(pinned)}"],
                there,
                id=ids.PINNED,
                className="pinned-chip",
                title="to what is pinned",
            )
        )
        key = {"id": ids.NAV_PIN} if text == own or own is None else {}
        hint = "let go of what is pinned" + (" (p)" if key else "")
        without = paths.with_query(place.path, query | {paths.PIN: None})
        parts.append(link("unpin", without, className="button unpin", title=hint, **key))
    if own is not None and own != text:
        here = paths.with_query(place.path, query | {paths.PIN: own})
        noun = KINDS[place.page]
        parts.append(
            link(
                f"Pin this {noun}",
                here,
                id=ids.NAV_PIN,
                className="button",
                title=f"pin this {noun} to see others beside it (p)",
            )
        )
    return [html.Span(parts, className="pin-tools")] if parts else []
