"""Experts: the coloured chip that stands for one, and the table of what goes to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import html
from dash.development.base_component import Component

from app.schemas.expansion import ExpertToken, ExpertTokens
from frontend import ids, theme
from frontend.components.common import note
from frontend.components.tokens import one_line, visible

COMMONEST_SHOWN = 8
FEWER_SHOWN = 3
"""Commonest tokens of each, where there are more than MANY experts: a browser takes seconds over thousands of parts."""
MANY = 16
MOST_LINES = 64


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
    """A line per expert: its share of the tokens and the commonest; some of them in their text come when it is opened.

    wd: of this neuron's outputs within each expert, where one neuron is looked at.
    """
    if not experts:
        return note("No experts.")
    largest = max(1, *(expert.tokens for expert in experts))
    shown = sorted(sorted(experts, key=lambda e: -e.tokens)[:MOST_LINES], key=lambda e: e.expert)
    words = (
        "Tokens go to the expert whose centroid is nearest to the layer's input. Counts are of calibration tokens; "
        "open an expert for some of them in their text."
    )
    if len(shown) < len(experts):
        words += f" The {len(shown)} largest of {len(experts):,} are listed."
    common = COMMONEST_SHOWN if len(shown) <= MANY else FEWER_SHOWN
    return html.Div(
        [html.Ol([_line(expert, largest, common, wd) for expert in shown], className="experts"), note(words)]
    )


def _line(
    expert: ExpertTokens, largest: int, common: int, wd: Mapping[int, float | None] | None
) -> Component:
    share = f"{100 * expert.tokens / largest:.1f}%"
    colour = theme.expert_colour(expert.expert)
    fill = f"linear-gradient(to right, {colour} {share}, transparent {share})"
    size = f"{expert.tokens:,} tokens, {theme.percent(expert.share)}"
    head: list[Component] = [
        expert_chip(expert.expert),
        html.Span(className="expert-bar", style={"backgroundImage": fill}, **{"aria-hidden": "true"}),
        html.Span(size, className="expert-size", title=f"{expert.share:.6g} of all calibration tokens"),
    ]
    if wd is not None:
        value = wd.get(expert.expert)
        text = f"WD {theme.number(value)}" if value is not None else "no WD"
        head.append(html.Span(text, className="expert-wd", title=repr(value)))
    tokens: list[Any] = []
    for word, times in expert.commonest[:common]:
        tokens += [html.Code(visible(word), title=f"{word!r}: {times:,} times"), f" {times:,}  "]
    head.append(html.Span(tokens or "no tokens", className="expert-common"))
    if not expert.examples:
        return html.Li(html.Div(head, className="expert-head"))
    return html.Li(
        html.Details(
            [
                html.Summary(head, className="expert-head", id=ids.expert_line(expert.expert)),
                html.Div(note("Loading…"), id=ids.expert_examples(expert.expert)),
            ]
        )
    )


def expert_examples(expert: ExpertTokens) -> Component:
    """Some of an expert's tokens in their text."""
    return html.Ol([_example(token) for token in expert.examples], className="tokens")


def _example(token: ExpertToken) -> Component:
    text = [
        html.Span(html.Bdi(one_line(token.before)), className="before"),
        html.Mark(visible(token.token)),
        html.Span(one_line(token.after), className="after"),
    ]
    return html.Li(html.Span(text, className="context"), title=f"token {token.position:,}")
