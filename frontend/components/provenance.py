"""Everything that made a neuron's numbers and plots, and how to get them again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from dash import dcc, html
from dash.development.base_component import Component

from app.client.calls import PREFIX
from app.schemas.neuron import NeuronDetail
from app.schemas.outputs import LayerOutputs
from app.schemas.run import Run
from frontend import theme
from frontend.queries import Query


def provenance(
    neuron: NeuronDetail,
    run: Run,
    outputs: LayerOutputs,
    titles: Mapping[str, str],
    query: Query,
    origin: str,
) -> Component:
    """A list of names and values, and commands to copy: the call behind the plot, and the one that made the run.

    titles: those of the pruning and the expansion that are shown.
    """
    made = neuron.provenance
    finished = run.finished_at.strftime("%Y-%m-%d %H:%M UTC") if run.finished_at else "not yet"
    facts = {
        "run": made.run,
        "neuron": f"block {neuron.layer}, {neuron.projection}, row {neuron.index}",
        "model": made.model,
        "source": run.model.source,
        "fingerprint": made.model_fingerprint,
        "type": run.model.dtype,
        "corpus": made.corpus,
        "tokens": theme.count(made.tokens),
        "window": theme.count(made.window),
        "pairs": theme.count(made.pairs),
        "seed": str(made.seed),
        "top share": theme.percent(run.request.top_share),
        "finished": finished,
        "device": run.device or "–",
        **titles,
        "outputs": _outputs(outputs),
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(made.versions.items())),
    }
    rows = [html.Div([html.Dt(name), html.Dd(value)], className="fact") for name, value in facts.items()]
    return html.Div(
        [
            html.Dl(rows, className="facts"),
            _command("curl", query.curl(origin), "copy-curl"),
            _command("Python", query.python(origin), "copy-python"),
            _command("the run", run_command(run, origin), "copy-run"),
        ]
    )


def run_command(run: Run, origin: str) -> str:
    """The call that makes this run, or answers with it where it is known."""
    body = json.dumps(run.request.model_dump(mode="json"))
    address = shlex.quote(f"{origin}{PREFIX}/runs")
    return f"curl -s -X POST {address} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _outputs(outputs: LayerOutputs) -> str:
    if not outputs.stored:
        return "not stored"
    when = outputs.stored_at.strftime("%Y-%m-%d %H:%M UTC") if outputs.stored_at else ""
    return f"{theme.size(outputs.size_bytes)}, stored {when} on {outputs.device}"


def _command(label: str, text: str, name: str) -> Component:
    return html.Div(
        [
            html.Span(label, className="command-label"),
            html.Pre(text, id=name, className="command", tabIndex="0"),
            dcc.Clipboard(target_id=name, title=f"copy as {label}", className="copy"),
        ],
        className="command-row",
    )
