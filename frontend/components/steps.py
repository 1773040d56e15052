"""Steps to neighbours: the neuron beside, the block before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dash import html
from dash.development.base_component import Component

from app.schemas.layer import LayerSummary
from frontend import ids
from frontend.components.common import link
from frontend.paths import Place


def step(text: str, href: str | None, name: str, title: str) -> Component:
    """A step to a neighbour; greyed, without a name, where there is none, so that nothing jumps."""
    if href is None:
        return html.Span(text, className="button disabled", title=f"no {title}", **{"aria-hidden": "true"})
    return link(text, href, id=name, className="button", title=title)


def neighbours(layer: int, layers: Iterable[int]) -> tuple[int | None, int | None]:
    """The nearest of `layers` before and after `layer`; None where there is none."""
    depths = list(layers)
    before = max((depth for depth in depths if depth < layer), default=None)
    return before, min((depth for depth in depths if depth > layer), default=None)


class NeuronSteps:
    """Steps from the neuron of a page to others of its projection, each to the `address` of a layer and an index."""

    def __init__(self, place: Place, layers: list[LayerSummary], address: Callable[[int, int], str]) -> None:
        self._place, self._to = place, address
        self._neurons = {one.layer: one.neurons for one in layers if one.projection == place.projection}
        self._before, self._after = neighbours(place.layer, self._neurons)

    def beside(self) -> list[Component]:
        """The neuron before and the one after."""
        index = self._place.index
        previous = self._address(self._place.layer, index - 1)
        following = self._address(self._place.layer, index + 1)
        return [
            step(
                "‹" if previous is None else f"‹ {index - 1}",
                previous,
                ids.NAV_PREVIOUS,
                "previous neuron (left arrow)",
            ),
            step(
                "›" if following is None else f"{index + 1} ›",
                following,
                ids.NAV_NEXT,
                "next neuron (right arrow)",
            ),
        ]

    def across(self) -> list[Component]:
        """The neuron of the same index in the block before and in the one after."""
        lower, upper = (self._address(layer, self._place.index) for layer in (self._before, self._after))
        return [
            step(
                "↓ block" if lower is None else f"↓ block {self._before}",
                lower,
                ids.NAV_DOWN,
                "block before with this index (down arrow)",
            ),
            step(
                "↑ block" if upper is None else f"↑ block {self._after}",
                upper,
                ids.NAV_UP,
                "block after with this index (up arrow)",
            ),
        ]

    def _address(self, layer: int | None, index: int) -> str | None:
        if layer is None or not 0 <= index < self._neurons[layer]:
            return None
        return self._to(layer, index)
