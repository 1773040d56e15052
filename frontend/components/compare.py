"""Two neurons, layers or runs in numbers, and the neurons that moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dash import html
from dash.development.base_component import Component

from app.schemas.difference import NeuronDifference
from app.schemas.layer import LayerSummary
from app.schemas.neuron import NeuronDetail
from app.schemas.page import Page
from frontend import ids, paths, theme
from frontend.components.common import link, note

Line = tuple[str, str, float | None, float | None]
"""Name, what it is, this one's value, the pinned one's."""


def legend(own: str, pinned: str) -> Component:
    """Which colour is which."""
    return html.Div(
        [
            html.Span([html.Span(className="swatch", style={"background": colour}), f"{name}: {text}"])
            for name, text, colour in (("this", own, theme.DENSE), ("pinned", pinned, theme.PINNED))
        ],
        className="compare-legend",
    )


def neuron_numbers(own: NeuronDetail, pinned: NeuronDetail, same_layer: bool) -> Component:
    """A row per number: this neuron, the pinned one, and the difference. MD has none across layers."""
    md = "mapping difficulty; compares neurons within a layer only"
    lines: list[Line] = [
        ("WD", "W1 of the standardised output to a Gaussian (Eq. 1)", own.wd, pinned.wd),
        ("MD", md, own.md, pinned.md),
        ("mean", "mean output", own.mean, pinned.mean),
        ("std", "standard deviation of the output", own.std, pinned.std),
        ("skew", "third standardised moment", own.skew, pinned.skew),
        ("excess kurtosis", "0 for a Gaussian", own.kurtosis, pinned.kurtosis),
        ("entropy", "of the standardised output, nats", own.entropy, pinned.entropy),
        ("mean |w|", "of the neuron's weights", own.mean_abs_weight, pinned.mean_abs_weight),
        (
            "rank in its layer",
            f"of {own.layer_neurons:,} and {pinned.layer_neurons:,}",
            own.rank_layer,
            pinned.rank_layer,
        ),
        (
            "rank in its run",
            f"of {own.run_neurons:,} and {pinned.run_neurons:,}",
            own.rank_model,
            pinned.rank_model,
        ),
    ]
    without = set() if same_layer else {"MD"}
    table = _numbers(lines, without)
    return html.Div(
        [table, None if same_layer else note("MD does not compare across layers: it has no difference here.")]
    )


def layer_numbers(own: LayerSummary, pinned: LayerSummary) -> Component:
    """A row per quantile of WD and count."""
    lines: list[Line] = [
        ("smallest WD", "", own.wd_min, pinned.wd_min),
        ("a quarter below", "first quartile of WD", own.wd_q25, pinned.wd_q25),
        ("median WD", "", own.wd_median, pinned.wd_median),
        ("three quarters below", "third quartile of WD", own.wd_q75, pinned.wd_q75),
        ("largest WD", "", own.wd_max, pinned.wd_max),
        ("threshold", "smallest WD of the layer's Wasserstein neurons", own.threshold, pinned.threshold),
        ("neurons", "", own.neurons, pinned.neurons),
        (
            "above the floor",
            "neurons whose WD is above their run's Gaussian floor",
            own.above_floor,
            pinned.above_floor,
        ),
        ("constant", "neurons whose output is always the same", own.constant, pinned.constant),
    ]
    return _numbers(lines, set())


def _numbers(lines: Sequence[Line], without: set[str]) -> Component:
    head = html.Tr(
        [
            html.Td(),
            *(html.Th(name, scope="col", className="number") for name in ("this", "pinned", "difference")),
        ]
    )
    rows = []
    for name, words, own, pinned in lines:
        apart = None if own is None or pinned is None or name in without else own - pinned
        rows.append(
            html.Tr(
                [
                    html.Th(name, scope="row", title=words),
                    _cell(own),
                    _cell(pinned),
                    _cell(apart, signed=True),
                ]
            )
        )
    return html.Table(
        [html.Thead(head), html.Tbody(rows)], id=ids.COMPARE_NUMBERS, className="numbers sweep-table"
    )


def _cell(value: float | None, signed: bool = False) -> Component:
    if value is None:
        return html.Td("–", className="number")
    text = theme.count(value) if isinstance(value, int) else theme.number(value)
    if signed:
        text = f"+{text}" if value > 0 else text.replace("-", "−", 1)
    return html.Td(text, title=repr(value), className="number")


def moved_table(rows: Sequence[NeuronDifference], own: str, other: str, pin: str | None) -> Component:
    """A row per neuron, with links to it in both runs."""
    names = ("neuron", "WD here", "WD pinned", "difference", "rank here", "rank pinned", "moved", "")
    head = [html.Th(name, scope="col", className="number" if i else "") for i, name in enumerate(names)]
    body = []
    for row in rows:
        place = (row.layer, row.projection, row.index)
        there = "/".join(map(str, (other, *place)))
        body.append(
            html.Tr(
                [
                    html.Th(
                        link(
                            f"{row.layer}.{row.projection}.{row.index}",
                            paths.with_query(paths.neuron_path(own, *place), {paths.PIN: pin}),
                        ),
                        scope="row",
                    ),
                    _cell(row.wd),
                    _cell(row.other_wd),
                    _cell(row.difference, signed=True),
                    html.Td(f"{row.rank:,}", title=f"of {row.layer_neurons:,}", className="number"),
                    html.Td(f"{row.other_rank:,}", title=f"of {row.layer_neurons:,}", className="number"),
                    _cell(row.moved, signed=True),
                    html.Td(
                        link(
                            "both",
                            paths.with_query(paths.neuron_path(own, *place), {paths.PIN: there}),
                            title="this neuron beside itself in the pinned run",
                        )
                    ),
                ]
            )
        )
    table = html.Table(
        [html.Thead(html.Tr(head)), html.Tbody(body)], id=ids.COMPARE_MOVED, className="numbers sweep-table"
    )
    return html.Div(table, className="scroll-x")


def pager(page: Page[NeuronDifference], address: Callable[[int], str]) -> Component:
    """Which rows these are, and steps to those before and after."""
    first, last = page.offset + 1, page.offset + len(page.items)
    before, after = max(0, page.offset - page.limit), page.offset + page.limit
    return html.Div(
        [
            html.Span(f"{first:,} to {last:,} of {page.total:,} neurons", className="muted"),
            link("‹ before", address(before), className="button") if page.offset else None,
            link("after ›", address(after), className="button") if after < page.total else None,
        ],
        className="row",
    )
