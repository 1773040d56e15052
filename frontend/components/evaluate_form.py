"""The form that measures perplexity on held-out text, and the table of what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.corpus import Corpus
from app.schemas.evaluation import Evaluation, EvaluationRequest
from app.schemas.expansion import Expansion
from app.schemas.model import Estimate
from app.schemas.pruning import Pruning
from app.schemas.run import Run
from frontend import ids, paths, theme
from frontend.components.common import link, note
from frontend.components.runs_table import table

ORDER = ["label", "input", "error", "description"]
OWN = "own"
"""Value of the selector that takes the run's own corpus."""
NUMBERS = ("tokens", "window", "seed")
LABELS = {"tokens": "Tokens", "window": "Window", "seed": "Seed"}
INTRODUCTION = (
    "Perplexity of the dense model and of what was made from it, on text from the corpus' end that the run has not seen. "
    "The interval is a 95 % bootstrap over windows."
)


def evaluate_form(
    run: Run, variants: Sequence[Pruning | Expansion], corpora: Sequence[Corpus], chosen: Sequence[str]
) -> Component:
    """Which models, which text, how much of it; `chosen` are marked at first."""
    default = EvaluationRequest()
    # The run's own window fits its model, whatever the default is.
    numbers = {name: getattr(default, name) for name in NUMBERS} | {"window": run.request.window}
    ready = [variant for variant in variants if variant.layers]
    return html.Div(
        [
            note(INTRODUCTION),
            html.Div(
                [
                    _variants(ready, chosen),
                    _corpus(run, corpora),
                    *(_number(name, value) for name, value in numbers.items()),
                ],
                className="form-grid",
            ),
            html.Div(id=ids.EVALUATE_ESTIMATE, className="estimate", **{"aria-live": "polite"}),
            dmc.Button("Evaluate", id=ids.EVALUATE_SUBMIT),
            html.Div(id=ids.EVALUATE_ANSWER, **{"aria-live": "polite"}),
            dcc.Store(id=ids.EVALUATE_PLACE, data=run.id),
        ]
    )


def _variants(ready: Sequence[Pruning | Expansion], chosen: Sequence[str]) -> Component:
    known = {variant.id for variant in ready}
    return dmc.MultiSelect(
        id=ids.evaluate("variants"),
        label="Models",
        data=[
            {"value": v.id, "label": f"{v.title} ({len(v.layers)} of {v.layers_total} layers)"} for v in ready
        ],
        value=[name for name in chosen if name in known],
        placeholder="the dense model alone" if ready else "nothing is pruned or expanded yet",
        description="Prunings and expansions beside the dense model, which is always evaluated. Layers that one does "
        "not cover stay dense.",
        inputWrapperOrder=ORDER,
        clearable=True,
        searchable=len(ready) > 8,
        className="wide-field",
    )


def _corpus(run: Run, corpora: Sequence[Corpus]) -> Component:
    own = {"value": OWN, "label": f"the run's own: {run.corpus_title or run.request.corpus}"}
    others = [{"value": c.name, "label": c.title} for c in corpora if c.name != run.request.corpus]
    return dmc.Select(
        id=ids.evaluate("corpus"),
        label="Held-out text",
        data=[own, *others],
        value=OWN,
        allowDeselect=False,
        description="Taken from the corpus' end; of the run's own corpus never what the run has seen.",
        inputWrapperOrder=ORDER,
    )


def _number(name: str, value: int) -> Component:
    words = EvaluationRequest.model_fields[name].description or ""
    return dmc.NumberInput(
        id=ids.evaluate(name),
        label=LABELS[name],
        value=value,
        description=words,
        inputWrapperOrder=ORDER,
        allowDecimal=False,
        allowNegative=False,
        clampBehavior="none",
        thousandSeparator=",",
    )


def cost_text(found: Estimate) -> Component:
    """What an evaluation would take."""
    basis = f" Speed {found.basis}." if found.basis else ""
    return note(
        f"About {theme.duration(max(1.0, found.seconds))} and {theme.size(found.host_bytes)} of memory for "
        f"{theme.count(found.tokens)} tokens.{basis}"
    )


def context_of(evaluation: Evaluation, corpus: str) -> str:
    """The denominator of every number of an evaluation."""
    words = f"{evaluation.tokens:,} predicted tokens in {evaluation.windows:,} windows"
    return f"{words} of up to {evaluation.request.window:,} tokens, from the end of {corpus}"


def results_table(evaluation: Evaluation, corpus: str) -> Component:
    """Perplexity of each model with its interval, and what it was measured on."""
    dense = next((one.perplexity for one in evaluation.results if one.variant is None), None)
    rows = []
    for one in evaluation.results:
        times = f"{one.perplexity / dense:.3g} ×" if dense and one.variant else "–"
        rows.append(
            [
                _title(evaluation.run, one.variant, one.title),
                html.Span(theme.number(one.perplexity), title=repr(one.perplexity)),
                html.Span(
                    f"{theme.number(one.low)} to {theme.number(one.high)}", title=f"{one.low} to {one.high}"
                ),
                times,
                theme.percent(one.ffn_sparsity),
                theme.count(one.layers),
            ]
        )
    head = ("model", "perplexity", "95 % interval", "of dense", "zeros of FFN weights", "layers changed")
    words = f"{context_of(evaluation, corpus)}. Each token but a window's first is predicted from those before it. "
    words += "Zeros change perplexity, not speed: that takes kernels made for them."
    return html.Div(
        [
            html.Div(table(head, rows, f"results-{evaluation.id}", (1, 2, 3, 4, 5)), className="scroll-x"),
            note(words),
        ]
    )


def _title(run: str, variant: str | None, title: str) -> Any:
    if variant is None:
        return [html.Span(className="swatch", style={"background": theme.DENSE}), title]
    kind = "expansion" if variant.startswith("x-") else "pruning"
    colour = theme.EXPANDED if kind == "expansion" else theme.SPARSE
    address = paths.with_query(paths.run_path(run), {kind: variant})
    return [html.Span(className="swatch", style={"background": colour}), link(title, address)]
