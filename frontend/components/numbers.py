"""The numbers of a neuron."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from app.schemas.neuron import GAUSSIAN_ENTROPY_NATS, NeuronDetail
from app.schemas.outputs import WdInterval
from frontend import ids, theme


def numbers_table(
    neuron: NeuronDetail, inputs: int = 0, stored: bool = False, ri: float | None = None
) -> Component:
    """Name, value in three significant digits with the full one on hover, and of what it is.

    inputs: weights of the neuron. stored: whether every token's output is: then the interval of WD comes later.
    ri: of the pruning and the expansion that are looked at.
    """
    tokens, pairs = f"{neuron.provenance.tokens:,} tokens", f"{neuron.provenance.pairs:,} pairs"
    weights = f"{inputs:,} weights" if inputs else "its weights"
    rows = [
        _row("wd", "WD", neuron.wd, f"W1 to N(0, 1), {tokens}"),
        _interval(stored),
        _row(
            "gaussian_floor",
            "Gaussian floor",
            neuron.provenance.gaussian_floor,
            f"{tokens} of N(0, 1)",
        ),
        _row("md", "MD", neuron.md, f"{pairs}; only within this layer"),
        _place("rank_layer", "rank in layer", neuron.rank_layer, neuron.layer_neurons),
        _place("rank_model", "rank in model", neuron.rank_model, neuron.run_neurons),
        None if ri is None else _row("numbers-ri", "RI", ri, f"RMSE sparse / expanded, {tokens}"),
        _row("mean", "mean", neuron.mean, tokens),
        _row("std", "standard deviation", neuron.std, tokens),
        _row("skew", "skew", neuron.skew, f"{tokens}; Gaussian: 0"),
        _row("kurtosis", "excess kurtosis", neuron.kurtosis, f"{tokens}; Gaussian: 0"),
        _row("entropy", "entropy (nats)", neuron.entropy, f"{tokens}; Gaussian: {GAUSSIAN_ENTROPY_NATS:.4g}"),
        _row("mean_abs_weight", "mean |w|", neuron.mean_abs_weight, weights),
        _row("weight_norm", "weight norm", neuron.weight_norm, weights),
        _row("zero_share", "zero weights", neuron.zero_share, f"share of {weights}"),
    ]
    flags = [
        html.Span("Wasserstein neuron: in its layer's top share by WD", className="flag")
        if neuron.wasserstein
        else None,
        html.Span("Constant: the same output for every token", className="flag") if neuron.constant else None,
    ]
    body = html.Tbody([row for row in rows if row is not None])
    return html.Div([html.Table(body, className="numbers"), html.Div(flags, className="flags")])


def interval_text(found: WdInterval) -> tuple[str, str, str]:
    """The interval in short, in full, and of what it is."""
    level = f"{100 * found.confidence:.3g} %"
    if found.low is None or found.high is None:
        return "–", "no value", "needs two windows" if found.windows < 2 else "no WD"
    short = f"{theme.number(found.low)} to {theme.number(found.high)}"
    full = (
        f"{found.low!r} to {found.high!r}: {level}, {found.method}; standard error {found.standard_error!r}, bias "
        f"{found.bias!r}, seed {found.seed}"
    )
    rough = "; rough: few windows" if found.windows < 10 else ""
    return short, full, f"{level}, {found.resamples:,} resamples of {found.windows:,} windows{rough}"


def _interval(stored: bool) -> Component:
    remark = "…" if stored else "needs the layer's outputs: see Pairs"
    return html.Tr(
        [
            html.Th("WD interval", scope="row"),
            html.Td("–", id=ids.number("wd_interval"), className="number nowrap"),
            html.Td(remark, id=ids.INTERVAL_REMARK, className="muted"),
        ]
    )


def _row(name: str, label: str, value: float | None, remark: str) -> Component:
    full = "no value" if value is None else repr(value)
    return html.Tr(
        [
            html.Th(label, scope="row"),
            html.Td(theme.number(value), id=ids.number(name), title=full, className="number"),
            html.Td(remark, className="muted"),
        ]
    )


def _place(name: str, label: str, value: int, total: int) -> Component:
    return html.Tr(
        [
            html.Th(label, scope="row"),
            html.Td(theme.count(value), id=ids.number(name), title=str(value), className="number"),
            html.Td(f"of {total:,}", className="muted"),
        ]
    )
