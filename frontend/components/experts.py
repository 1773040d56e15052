"""Experts: the coloured chip that stands for one, and the table of what goes to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import html
from dash.development.base_component import Component

from app.schemas.expansion import ExpertToken, ExpertTokens
from frontend import theme
from frontend.components.common import note
from frontend.components.tokens import one_line, visible

COMMONEST_SHOWN = 8
EXAMPLES_SHOWN = 12


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
    """A line per expert: its share of the tokens, the commonest, and behind a click some of them in their text.

    wd: of this neuron's outputs within each expert, where one neuron is looked at.
    """
    if not experts:
        return note("No experts.")
    largest = max(1, *(expert.tokens for expert in experts))
    return html.Div(
        [
            html.Ol([_line(expert, largest, wd) for expert in experts], className="experts"),
            note(
                "Tokens go to the expert whose centroid is nearest to the layer's input. Counts are of calibration tokens; "
                "open an expert for some of them in their text."
            ),
        ]
    )


def _line(expert: ExpertTokens, largest: int, wd: Mapping[int, float | None] | None) -> Component:
    colour = theme.expert_colour(expert.expert)
    bar = html.Span(
        html.Span(style={"width": f"{100 * expert.tokens / largest:.1f}%", "background": colour}),
        className="expert-bar",
        **{"aria-hidden": "true"},
    )
    head = [
        expert_chip(expert.expert),
        bar,
        html.Span(
            f"{expert.tokens:,} tokens, {theme.percent(expert.share)}",
            className="expert-size",
            title=f"{expert.share:.6g} of all calibration tokens",
        ),
    ]
    if wd is not None:
        value = wd.get(expert.expert)
        head.append(
            html.Span(
                f"WD {theme.number(value)}" if value is not None else "no WD",
                className="expert-wd",
                title=repr(value),
            )
        )
    common = [
        html.Span(
            [html.Code(visible(text)), html.Span(f"{times:,}", className="muted")],
            className="common-token",
            title=f"{text!r}: {times:,} times",
        )
        for text, times in expert.commonest[:COMMONEST_SHOWN]
    ]
    head.append(html.Span(common or "no tokens", className="expert-common"))
    if not expert.examples:
        return html.Li(html.Div(head, className="expert-head"))
    examples = html.Ol([_example(token) for token in expert.examples[:EXAMPLES_SHOWN]], className="tokens")
    return html.Li(html.Details([html.Summary(head, className="expert-head"), examples]))


def _example(token: ExpertToken) -> Component:
    text = [
        html.Span(html.Bdi(one_line(token.before)), className="before"),
        html.Mark(visible(token.token)),
        html.Span(one_line(token.after), className="after"),
    ]
    return html.Li(html.Span(text, className="context"), title=f"token {token.position:,}")
