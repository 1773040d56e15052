"""The numbers of a neuron."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from app.schemas.neuron import GAUSSIAN_ENTROPY_NATS, NeuronDetail
from frontend import ids, theme


def numbers_table(neuron: NeuronDetail) -> Component:
    """Name, value in three significant digits with the full one on hover, and what to read it against."""
    rows = [
        _row("wd", "WD", neuron.wd, "W1 distance to N(0, 1)"),
        _row("gaussian_floor", "Gaussian floor", neuron.provenance.gaussian_floor, "WD of a Gaussian sample"),
        _row("md", "MD", neuron.md, "within this layer only"),
        _place("rank_layer", "rank in layer", neuron.rank_layer, neuron.layer_neurons),
        _place("rank_model", "rank in model", neuron.rank_model, neuron.run_neurons),
        _row("mean", "mean", neuron.mean, ""),
        _row("std", "standard deviation", neuron.std, ""),
        _row("skew", "skew", neuron.skew, "Gaussian: 0"),
        _row("kurtosis", "excess kurtosis", neuron.kurtosis, "Gaussian: 0"),
        _row("entropy", "entropy (nats)", neuron.entropy, f"Gaussian: {GAUSSIAN_ENTROPY_NATS:.4g}"),
        _row("mean_abs_weight", "mean |w|", neuron.mean_abs_weight, ""),
        _row("weight_norm", "weight norm", neuron.weight_norm, ""),
        _row("zero_share", "zero weights", neuron.zero_share, "share from 0 to 1"),
    ]
    flags = [
        html.Span("Wasserstein neuron: in its layer's top share by WD", className="flag")
        if neuron.wasserstein
        else None,
        html.Span("Constant: the same output for every token", className="flag") if neuron.constant else None,
    ]
    return html.Div([html.Table(html.Tbody(rows), className="numbers"), html.Div(flags, className="flags")])


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
