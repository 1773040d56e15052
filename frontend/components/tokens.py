"""Tokens in their context. Corpus text is only ever a text child: it is never read as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import html
from dash.development.base_component import Component

from app.schemas.neuron import TokenExample
from frontend import theme


def token_list(examples: Sequence[TokenExample], experts: Mapping[int, Component] | None = None) -> Component:
    """One line per token: its value, and the token marked in the text around it.

    experts: what stands for the expert of each token, by position, where an expansion is looked at.
    """
    if not examples:
        return html.P("No tokens were kept for this neuron.", className="note")
    return html.Ol([_line(example, experts) for example in examples], className="tokens")


def _line(example: TokenExample, experts: Mapping[int, Component] | None) -> Component:
    where = f"token {example.position:,}: window {example.window}, place {example.offset}"
    return html.Li(
        [
            html.Span(theme.number(example.value), className="token-value", title=repr(example.value)),
            html.Span(experts.get(example.position), className="token-expert") if experts else None,
            context(example),
        ],
        title=where,
    )


def context(example: TokenExample) -> Component:
    """The token marked in the text around it, on one line."""
    text = [
        html.Span(html.Bdi(one_line(example.before)), className="before"),
        html.Mark(visible(example.token)),
        html.Span(one_line(example.after), className="after"),
    ]
    return html.Span(text, className="context")


def one_line(text: str) -> str:
    """Text whose line ends and tabs are signs, so that every example is one line."""
    return text.replace("\r", "").replace("\n", "⏎").replace("\t", "⇥")


def visible(token: str) -> str:
    """A token on one line; one of white space alone is shown as signs."""
    return one_line(token) if token.strip() else one_line(token).replace(" ", "␣") or "∅"
