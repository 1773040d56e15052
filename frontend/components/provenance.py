"""Everything that made a neuron's numbers, and how to get them again."""

from __future__ import annotations

import shlex

from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.neuron import NeuronDetail
from frontend import paths, theme


def provenance(neuron: NeuronDetail, origin: str) -> Component:
    """A list of names and values, and two commands to copy."""
    made = neuron.provenance
    facts = {
        "run": made.run,
        "model": made.model,
        "fingerprint": made.model_fingerprint,
        "corpus": made.corpus,
        "tokens": theme.count(made.tokens),
        "window": theme.count(made.window),
        "pairs": theme.count(made.pairs),
        "seed": str(made.seed),
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(made.versions.items())),
    }
    rows = [html.Div([html.Dt(name), html.Dd(value)], className="fact") for name, value in facts.items()]
    return html.Div(
        [
            html.Dl(rows, className="facts"),
            _command("curl", curl_command(neuron, origin), "copy-curl"),
            _command("Python", python_command(neuron, origin), "copy-python"),
        ]
    )


def _command(label: str, text: str, name: str) -> Component:
    return html.Div(
        [
            html.Span(label, className="command-label"),
            html.Pre(text, id=name, className="command"),
            dcc.Clipboard(target_id=name, title=f"copy as {label}", className="copy"),
        ],
        className="command-row",
    )


def curl_command(neuron: NeuronDetail, origin: str) -> str:
    """The request of this page's data."""
    path = paths.neuron_path(neuron.provenance.run, neuron.layer, neuron.projection, neuron.index)
    return f"curl -s {shlex.quote(f'{origin}/api/v1{path}')}"


def python_command(neuron: NeuronDetail, origin: str) -> str:
    """The same through the client."""
    arguments = ", ".join(
        repr(part) for part in (neuron.provenance.run, neuron.layer, neuron.projection, neuron.index)
    )
    return f"from app.client import Client\nneuron = Client({origin!r}).neuron({arguments})"
