"""Everything that made a neuron's numbers, and how to get them again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.neuron import NeuronDetail
from frontend import paths, theme

Names = Mapping[str, Any]
"""Ids of the pruning and the expansion that are shown."""


def provenance(neuron: NeuronDetail, origin: str, titles: Mapping[str, str], names: Names) -> Component:
    """A list of names and values, and two commands to copy: of the neuron, or of its distributions where a pruning or an
    expansion is shown. titles: those of what is shown."""
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
        **titles,
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(made.versions.items())),
    }
    rows = [html.Div([html.Dt(name), html.Dd(value)], className="fact") for name, value in facts.items()]
    return html.Div(
        [
            html.Dl(rows, className="facts"),
            _command("curl", curl_command(neuron, origin, names), "copy-curl"),
            _command("Python", python_command(neuron, origin, names), "copy-python"),
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


def curl_command(neuron: NeuronDetail, origin: str, names: Names) -> str:
    """The request of this page's data."""
    path = paths.neuron_path(neuron.provenance.run, neuron.layer, neuron.projection, neuron.index)
    if any(names.values()):
        path = paths.with_query(f"{path}/distributions", names)
    return f"curl -s {shlex.quote(f'{origin}/api/v1{path}')}"


def python_command(neuron: NeuronDetail, origin: str, names: Names) -> str:
    """The same through the client."""
    given = [
        repr(part) for part in (neuron.provenance.run, neuron.layer, neuron.projection, neuron.index)
    ] + [f"{kind}={name!r}" for kind, name in names.items() if name]
    method = "distributions" if any(names.values()) else "neuron"
    return f"from app.client import Client\n{method} = Client({origin!r}).{method}({', '.join(given)})"
