"""The tokens' card of a neuron's page: highest, lowest, random, a band of quantiles, a range of outputs."""

from __future__ import annotations

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from app.schemas.outputs import NeuronOutputs
from frontend import ids
from frontend.components.common import card, link, note, tabs
from frontend.components.experts import expert_chip
from frontend.components.exports import export_menu
from frontend.components.outputs import offer, outputs_list, range_line
from frontend.components.tokens import token_list
from frontend.neuron_view import BANDS, KINDS, PAGE, SORTS, STORED, View
from frontend.pages.chosen import Chosen
from frontend.pages.neuron_cards import Seen, neuron_query
from frontend.paths import Place
from frontend.queries import Query


def wanted(view: View, place: Place, chosen: Chosen) -> Query | None:
    """The call that answers which tokens are looked at; None where the neuron itself holds them."""
    if view.tokens not in STORED:
        return None
    if view.tokens == "bands":
        low, high = BANDS[view.band]
        ends: dict[str, float | None] = {"from_quantile": low, "to_quantile": high}
    else:
        ends = {"low": view.low, "high": view.high}
    return neuron_query(
        place,
        "tokens",
        **ends,
        sort=view.sort,
        seed=view.draw or None,
        expansion=chosen.names["expansion"],
        limit=PAGE,
        offset=view.offset or None,
    )


def tokens_card(seen: Seen, found: NeuronOutputs | None) -> Component:
    """The tokens that are looked at; `found` where every token's output is needed and stored."""
    view = seen.view
    items = [
        (title, seen.here(tokens=None if name == "high" else name, sort=None), name == view.tokens)
        for name, title in KINDS.items()
    ]
    query = wanted(view, seen.place, seen.chosen) or seen.query("neuron")
    return card(
        "Tokens",
        *(_kept(seen) if view.tokens not in STORED else _stored(seen, found)),
        tools=[tabs("which tokens", items), export_menu("tokens", query, seen.place.origin)],
        id=ids.TOKENS,
    )


def _kept(seen: Seen) -> list[Component]:
    """The 16 tokens of a kind that the run keeps of every neuron."""
    expansion = seen.changed.expansion if seen.changed else None
    chips = {p: expert_chip(e) for p, e in (expansion.token_experts if expansion else {}).items()}
    words = "The number in colour is the expert that the token goes to. " if chips else ""
    tokens = seen.neuron.provenance.tokens
    return [
        token_list(getattr(seen.neuron.tokens, seen.view.tokens), chips),
        note(f"{words}Of {tokens:,} tokens; the random ones are the same for all neurons of the run."),
    ]


def _stored(seen: Seen, found: NeuronOutputs | None) -> list[Component]:
    """A band or range: its ends, its order, and its tokens, or the offer to store the outputs."""
    view = seen.view
    head = _bands(seen) if view.tokens == "bands" else _range(seen)
    if found is None:
        what = "The tokens of any range of outputs, and the expert of each."
        return [head, offer(seen.outputs, "tokens", what)]
    orders = [
        (title, seen.here(sort=name), name == view.sort)
        for name, title in SORTS.items()
        if name != "position"
    ]
    moves = [tabs("order", orders)]
    if view.sort == "random":
        moves.append(link("draw again", seen.here(draw=str(view.draw + 1)), className="button"))
    moves += [
        _page("‹", seen, view.offset - PAGE, view.offset > 0, "tokens before"),
        _page("›", seen, view.offset + PAGE, view.offset + PAGE < found.total, "tokens after"),
    ]
    return [head, range_line(found, moves), outputs_list(found)]


def _page(text: str, seen: Seen, offset: int, there: bool, title: str) -> Component:
    if not there:
        return html.Span(text, className="button disabled", **{"aria-hidden": "true"})
    href = seen.here(**{"from": str(offset) if offset > 0 else None})
    return link(text, href, className="button", title=title)


def _bands(seen: Seen) -> Component:
    """Bands of quantiles, the highest last."""
    items = [
        (f"{_percent(low)}–{_percent(high)} %", seen.here(band=str(number)), number == seen.view.band)
        for number, (low, high) in enumerate(BANDS)
    ]
    return html.Div(tabs("band of quantiles", items), className="range-head scroll-x")


def _range(seen: Seen) -> Component:
    """The ends of a range, to type for those who do not draw it."""
    view = seen.view
    spread = seen.neuron.distribution
    fields = [
        dmc.NumberInput(
            id=name,
            value="" if value is None else value,
            placeholder=f"{end:.4g}",
            size="xs",
            w=120,
            hideControls=True,
            **{"aria-label": label},
        )
        for name, value, end, label in (
            (ids.RANGE_LOW, view.low, spread.low, "outputs from"),
            (ids.RANGE_HIGH, view.high, spread.high, "outputs to"),
        )
    ]
    return html.Div(
        [
            html.Span("outputs from", className="muted"),
            fields[0],
            html.Span("to", className="muted"),
            fields[1],
            dmc.Button("Show", id=ids.RANGE_SHOW, variant="default", size="xs"),
            link("all", seen.here(low=None, high=None), className="button") if view.chosen else None,
            html.Span("or draw across the distribution above", className="muted small"),
        ],
        className="row range-head",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g}"
