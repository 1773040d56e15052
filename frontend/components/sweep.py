"""A neuron's sweep: the slider, the tables beside the plots, and the form that starts one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component
from pydantic import ValidationError

from app.schemas.model import Estimate
from app.schemas.sweep import NeuronSweep, NeuronSweepPoint, SweepRequest
from frontend import ids, theme
from frontend.components.common import note
from frontend.components.form import ORDER
from frontend.figures.neuron import LOG_BOTTOM
from frontend.figures.sweep import Stop, stop_words
from frontend.form_errors import FormErrors
from frontend.variant_request import NEEDED

FIELDS: dict[str, tuple[str, str]] = {
    "sparsities": (
        "Sparsities, %",
        "Shares of the layer's weights set to 0, with commas between; each is met to one weight.",
    ),
    "patterns": ("Patterns N:M", "N zeros in each M consecutive weights, such as 2:4; may be left empty."),
    "experts": ("Experts", "Experts of the expansion that is made at each of the sparsities."),
    "expert_counts": ("Numbers of experts", "Tried at one sparsity, with commas between; may be left empty."),
    "at": ("Tried at, %", "The sparsity at which numbers of experts are tried: one of those above."),
    "damping": ("Damping", "Share of the Hessian's mean diagonal that is added to it; 0.01 is usual."),
    "reduction": ("Reduction", "Inputs are reduced to width / reduction components before clustering."),
    "seed": ("Seed", "Of PCA and k-means."),
}
TEXTS = ("sparsities", "patterns", "expert_counts")
FINE = ("damping", "reduction", "seed")
ZEROS = (
    "Zeros take no time off these products and save no memory on common hardware: a sweep shows what is lost, not what is "
    "gained. 2:4 can be fast on GPUs with sparse tensor cores."
)


def slider(every: Sequence[Stop], place: int) -> Component:
    """Moves through the amounts; its places are evenly far apart."""
    marks = [{"value": number, "label": stop.title} for number, stop in enumerate(every)]
    return html.Div(
        dmc.Slider(
            id=ids.SWEEP_SLIDER,
            min=0,
            max=max(1, len(every) - 1),
            step=1,
            value=place,
            marks=marks,
            label=None,
            updatemode="drag",
            disabled=len(every) < 2,
            thumbLabel="amount of zeros",
            size="sm",
        ),
        className="sweep-slider",
    )


def prepared(found: NeuronSweep, every: Sequence[Stop], log: bool) -> Component:
    """What the slider switches between, so that the browser asks nobody."""
    return dcc.Store(
        id=ids.SWEEP_DATA,
        data={
            "sparse": [stop.sparse.counts for stop in every],
            "expanded": [stop.expanded.counts for stop in every],
            "sparsity": [stop.sparse.sparsity for stop in every],
            "titles": [stop.title for stop in every],
            "words": [stop_words(found, stop) for stop in every],
            "bottom": LOG_BOTTOM / 2 if log else 0,
        },
    )


def stops_table(found: NeuronSweep, every: Sequence[Stop], place: int) -> Component:
    """A row for each amount; the slider's is marked."""
    groups = html.Tr(
        [
            html.Td(),
            *(html.Th(name, scope="colgroup", colSpan=len(METRICS)) for name in ("sparse", "expanded")),
            html.Td(),
        ],
        className="groups",
    )
    rows = [
        html.Tr(
            [
                html.Th(stop.title, scope="row"),
                *_cells(stop.sparse),
                *_cells(stop.expanded),
                _cell(stop.expanded.ri),
            ],
            id=f"sweep-row-{number}",
            className="sweep-row current" if number == place else "sweep-row",
        )
        for number, stop in enumerate(every)
    ]
    return _table(["zeros", *METRICS, *METRICS, "RI"], rows, f"dense WD {theme.number(found.wd)}", groups)


def experts_table(tried: Sequence[NeuronSweepPoint]) -> Component:
    """A row for each number of experts."""
    rows = [
        html.Tr([html.Th(f"{point.experts}", scope="row"), *_cells(point), _cell(point.ri)])
        for point in tried
    ]
    return _table(["experts", *METRICS, "RI"], rows, "")


METRICS = ("WD", "W1 to dense", "RMSE", "RMSE / std")


def _cells(point: NeuronSweepPoint) -> list[Component]:
    return [_cell(value) for value in (point.wd, point.w1, point.rmse, point.relative_rmse)]


def _cell(value: float | None) -> Component:
    return html.Td(
        theme.number(value), title="no value" if value is None else repr(value), className="number"
    )


def _table(
    head: Sequence[str], rows: Sequence[Component], caption: str, groups: Component | None = None
) -> Component:
    cells = [html.Th(name, scope="col", className="number" if i else "") for i, name in enumerate(head)]
    return html.Div(
        html.Table(
            [
                html.Caption(caption, className="muted small") if caption else None,
                html.Thead([groups, html.Tr(cells)]),
                html.Tbody(list(rows)),
            ],
            className="numbers sweep-table",
        ),
        className="scroll-x",
    )


def sweep_form(request: SweepRequest) -> Component:
    """Every setting, explained; the estimate follows what is typed."""
    first = [name for name in FIELDS if name not in FINE]
    return html.Div(
        [
            html.Div([_field(request, name) for name in first], className="form-grid"),
            html.Details(
                [
                    html.Summary("More settings"),
                    html.Div([_field(request, name) for name in FINE], className="form-grid"),
                ],
                className="more",
            ),
            html.Div(id=ids.SWEEP_ESTIMATE, className="estimate", **{"aria-live": "polite"}),
            html.Div(id=ids.SWEEP_ANSWER, **{"aria-live": "polite"}),
            dmc.Button("Start the sweep", id=ids.SWEEP_SUBMIT),
            note(ZEROS),
        ],
        className="sweep-form",
    )


def _field(request: SweepRequest, name: str) -> Component:
    label, words = FIELDS[name]
    common = {
        "id": ids.sweep_field(name),
        "label": label,
        "description": words,
        "inputWrapperOrder": ORDER,
    }
    value: Any = getattr(request, name)
    if name in TEXTS:
        scale = 100 if name == "sparsities" else 1
        shown = value if name == "patterns" else [f"{scale * one:.10g}" for one in value]
        return dmc.TextInput(**common, value=", ".join(shown))
    if name == "at":
        value = float(f"{100 * value:.10g}")
    return dmc.NumberInput(
        **common,
        value=value,
        clampBehavior="none",
        allowNegative=False,
        step=0.01 if name == "damping" else 1,
    )


def request_of(values: Mapping[str, Any], layer: int, projection: str) -> SweepRequest:
    """The request that a form's values make. Raises FormErrors."""
    given: dict[str, Any] = {"layer": layer, "projection": projection}
    errors: dict[str, str] = {}
    for name, value in values.items():
        if name in TEXTS:
            parts = [part.strip().removesuffix("%").strip() for part in str(value or "").split(",")]
            parts = [part for part in parts if part]
            if name == "patterns":
                given[name] = parts
                continue
            try:
                numbers = [float(part) for part in parts]
            except ValueError:
                errors[name] = "Numbers with commas between: 0, 50, 90."
                continue
            scale = 100 if name == "sparsities" else 1
            given[name] = [float(f"{number / scale:.10g}") for number in numbers]
        elif value is None or value == "":
            errors[name] = NEEDED
        else:
            given[name] = float(f"{float(value) / 100:.10g}") if name == "at" else value
    if errors:
        raise FormErrors(errors)
    try:
        return SweepRequest.model_validate(given)
    except ValidationError as error:
        raise FormErrors(_messages(error)) from error


def _messages(error: ValidationError) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in error.errors():
        name = str(part["loc"][0]) if part["loc"] else ""
        message = part["msg"].removeprefix("Value error, ").replace("Input should be", "Must be")
        if not name:
            name = "patterns" if "pattern" in message else "at" if "tried at" in message else "sparsities"
        elif name in ("sparsities", "at") and part["type"] not in ("too_short", "too_long"):
            message = "Between 0 and 100 %."
        elif name == "patterns" and part["type"] == "string_pattern_mismatch":
            message = "N:M, two numbers each: 2:4 for two zeros in each four weights."
        found[name] = message[0].upper() + message[1:]
    return found


def estimate_text(found: Estimate) -> Component:
    """What the sweep would take."""
    if found.store_bytes == 0:
        return note("It is done already and shows at once.")
    return note(
        f"About {theme.duration(max(1.0, found.seconds))}, {theme.size(found.host_bytes)} of memory, "
        f"{theme.size(found.store_bytes)} in the store, for all neurons of the layer. Speed {found.basis}."
    )
