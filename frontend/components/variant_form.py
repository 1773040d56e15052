"""The form that prunes or expands layers. Every field says what it is for, in the first sentence of the schema's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.expansion import Clusters, Expansion, ExpansionRequest, ExpansionSettings
from app.schemas.model import Estimate
from app.schemas.pruning import (
    METHOD_TITLES,
    Criterion,
    NeuronChoice,
    Pruning,
    PruningRequest,
    PruningSettings,
)
from app.schemas.run import Run
from app.schemas.variant import SparsitySettings, VariantKind
from frontend import ids, theme
from frontend.components.common import note
from frontend.paths import Place
from frontend.variant_request import EVERY, KEEP, ONLY

ORDER = ["label", "input", "error", "description"]
FIRST_SPARSITY = 0.9
"""What the paper looks at neurons with; at less, most neurons hardly change."""
CRITERIA = {
    Criterion.wd: "highest WD",
    Criterion.random: "at random",
    Criterion.mean_abs_weight: "highest mean |w|",
    Criterion.variance: "highest variance",
}
PATTERNS = ("2:4", "4:8", "1:4", "3:4")
THIS, BLOCK, PROJECTION, ALL = "this", "block", "projection", "all"
"""What a form covers: the layer it was opened on, its block, its projection in every block, everything."""

REQUESTS: dict[VariantKind, type[PruningRequest] | type[ExpansionRequest]] = {
    VariantKind.pruning: PruningRequest,
    VariantKind.expansion: ExpansionRequest,
}
SETTINGS: dict[VariantKind, type[PruningSettings] | type[ExpansionSettings]] = {
    VariantKind.pruning: PruningSettings,
    VariantKind.expansion: ExpansionSettings,
}
TITLES = {VariantKind.pruning: "Prune", VariantKind.expansion: "Expand into sparse experts"}
INTRODUCTIONS = {
    VariantKind.pruning: (
        "Sets weights of feed-forward layers to 0 and compares every neuron's outputs with the dense ones. Zeros alone "
        "do not make a model faster: that takes kernels made for them."
    ),
    VariantKind.expansion: (
        "Deals a layer's tokens to experts by their inputs and prunes the layer once for each expert with SparseGPT, from "
        "the original weights. Experts take more memory than one pruned layer."
    ),
}
LABELS = {
    "method": "Method",
    "sparsity": "Sparsity",
    "pattern": "N:M pattern",
    "per_row": "Same share in every neuron",
    "bits": "Bits",
    "propagate": "Whole model, propagated",
    "experts": "Experts",
    "reduction": "Reduction",
    "clusters": "Clusters",
    "damping": "Damping",
    "block": "Columns together",
    "seed": "Seed",
    "coverage": "Layers",
    "compare": "Compare outputs",
    "neurons": "Neurons",
    "neurons_by": "Chosen by",
    "neurons_share": "Share chosen",
    "neurons_seed": "Seed of a random choice",
}
ORDERS = {
    VariantKind.pruning: (
        "method",
        "sparsity",
        "pattern",
        "bits",
        "neurons",
        "neurons_by",
        "neurons_share",
        "coverage",
    ),
    VariantKind.expansion: ("experts", "clusters", "sparsity", "pattern", "reduction", "bits", "coverage"),
}
"""Fields in the order of the form; those of FINE come after them."""
FLAGS = ("per_row", "propagate", "compare")
FINE = {
    VariantKind.pruning: ("damping", "block", "neurons_seed"),
    VariantKind.expansion: ("damping", "block", "seed"),
}


@dataclass(frozen=True)
class Start:
    """How a form opens."""

    kind: VariantKind
    run: Run
    place: Place
    settings: PruningSettings | ExpansionSettings
    like: str = ""
    """Title of the pruning or expansion whose settings it starts with."""


def settings_for(kind: VariantKind, like: Pruning | Expansion | None) -> PruningSettings | ExpansionSettings:
    """Settings to start with: those of `like`, or where it is of the other kind, what both have in common.

    Outputs are compared at first, whatever `like` did: without that there is nothing to look at.
    """
    if like is None:
        return SETTINGS[kind](sparsity=FIRST_SPARSITY)
    if isinstance(like.settings, SETTINGS[kind]):
        return like.settings.model_copy(update={"compare": True})
    common = {name: getattr(like.settings, name) for name in SparsitySettings.model_fields}
    return SETTINGS[kind](**common | {"compare": True})


def explained(kind: VariantKind, name: str) -> str:
    """What a field is for: the first sentence of the schema's description."""
    if name == "coverage":
        return "Layers that are done already are kept and not made again."
    if name == "neurons":
        return "Prune every neuron, or only some of each layer (Fig. 3 of the paper)."
    choice = name.startswith("neurons_")
    fields = NeuronChoice.model_fields if choice else REQUESTS[kind].model_fields
    text = fields[name.removeprefix("neurons_")].description or ""
    first = text.split(". ")[0].rstrip(".")
    for method, title in METHOD_TITLES.items():
        first = first.replace(f"`{method}`", title)
    first = first.replace("`", "")
    return f"{first[0].upper()}{first[1:]}."


def variant_form(start: Start) -> Component:
    """The whole form."""
    kind = start.kind
    fields = [_field(start, name) for name in ORDERS[kind]]
    fine = [_field(start, name) for name in FINE[kind]]
    other = kind is VariantKind.expansion
    return html.Div(
        [
            note(INTRODUCTIONS[kind]),
            _like(start),
            html.Div(fields, className="form-grid narrow"),
            *(_flag(start, name) for name in FLAGS),
            html.Details(
                [html.Summary("More settings"), html.Div(fine, className="form-grid narrow")],
                className="more",
            ),
            html.Div(
                [
                    dmc.Checkbox(
                        id=ids.VARIANT_BOTH,
                        checked=other,
                        label="Also prune with the same settings",
                        description="RI compares the expansion with plain SparseGPT: it needs both.",
                        style={} if other else {"display": "none"},
                    ),
                    html.Div(id=ids.VARIANT_ESTIMATE, **{"aria-live": "polite"}),
                    html.Div(id=ids.VARIANT_ANSWER, **{"aria-live": "polite"}),
                    dmc.Button("Start", id=ids.VARIANT_SUBMIT),
                ],
                className="form-foot",
            ),
            dcc.Store(
                id=ids.VARIANT_PLACE,
                data={
                    "kind": kind,
                    "run": start.run.id,
                    "layer": start.place.layer,
                    "projection": start.place.projection,
                    "settings": start.settings.model_dump(mode="json"),
                },
            ),
        ],
        className="variant-form",
    )


def _like(start: Start) -> Component | None:
    return note(f"Filled in as {start.like} was made.") if start.like else None


def _common(start: Start, name: str) -> dict[str, Any]:
    return {
        "id": ids.field(name),
        "label": LABELS[name],
        "description": explained(start.kind, name),
        "inputWrapperOrder": ORDER,
    }


def _field(start: Start, name: str) -> Component:
    value, common = getattr(start.settings, name, None), _common(start, name)
    if name.startswith("neurons"):
        return _neurons(start, name, common)
    match name:
        case "coverage":
            wide = common | {"className": "wide-field"}
            return _select(wide, coverages(start.run, start.place), coverage_at_first(start.place))
        case "method":
            return _select(common, [(m.value, title) for m, title in METHOD_TITLES.items()], value)
        case "clusters":
            names = {Clusters.kmeans: "k-means of the inputs", Clusters.random: "random (control)"}
            return _select(common, [(c.value, names[c]) for c in Clusters], value)
        case "bits":
            data = [("none", "all bits"), *((str(bits), f"{bits} bits") for bits in range(8, 1, -1))]
            return _select(common, data, "none" if value is None else str(value))
        case "pattern":
            return dmc.Autocomplete(
                **common,
                data=list(PATTERNS),
                value=value or "",
                placeholder="none: the sparsity counts",
                comboboxProps={"withinPortal": True},
            )
        case "sparsity":
            shown = float(f"{100 * start.settings.sparsity:.10g}")
            more = {"suffix": " %", "step": 5, "disabled": start.settings.pattern is not None}
            return dmc.NumberInput(**common, **_number(shown), **more)
    return dmc.NumberInput(
        **common, **_number(value), allowDecimal=name == "damping", step=0.01 if name == "damping" else 1
    )


def _neurons(start: Start, name: str, common: dict[str, Any]) -> Component:
    """Which neurons are pruned, and how they are chosen."""
    chosen = getattr(start.settings, "neurons", None)
    choice = chosen or NeuronChoice()
    common |= {} if name == "neurons" else {"disabled": chosen is None}
    match name:
        case "neurons":
            which = [
                (EVERY, "every neuron"),
                (ONLY, "only the chosen ones"),
                (KEEP, "all but the chosen ones"),
            ]
            value = EVERY if chosen is None else KEEP if choice.keep else ONLY
            return _select(common | {"className": "wide-field"}, which, value)
        case "neurons_by":
            return _select(common, [(one.value, CRITERIA[one]) for one in Criterion], choice.by)
        case "neurons_share":
            shown = float(f"{100 * choice.share:.10g}")
            return dmc.NumberInput(**common, **_number(shown), suffix=" %", step=1)
    return dmc.NumberInput(**common, **_number(choice.seed), allowDecimal=False)


def _number(value: Any) -> dict[str, Any]:
    """Without debouncing: whoever types and starts at once must get what was typed."""
    return {
        "value": value,
        "clampBehavior": "none",
        "allowNegative": False,
    }


def _select(common: dict[str, Any], data: list[tuple[str, str]], value: str | None) -> Component:
    return dmc.Select(
        **common,
        data=[{"value": item, "label": label} for item, label in data],
        value=value,
        allowDeselect=False,
        checkIconPosition="right",
        comboboxProps={"withinPortal": True},
    )


def _flag(start: Start, name: str) -> Component:
    return dmc.Switch(
        id=ids.flag(name),
        checked=bool(getattr(start.settings, name)),
        label=LABELS[name],
        description=explained(start.kind, name),
        className="flag-field",
    )


def coverages(run: Run, place: Place) -> list[tuple[str, str]]:
    """What can be covered from a place: value and words."""
    names = [projection.name for projection in run.model.projections]
    total = len(names) * run.model.blocks
    every = (ALL, f"all {total:,} layers")
    if place.page not in {"layer", "neuron"}:
        return [
            every,
            *((f"{PROJECTION}:{name}", f"{name} of all {run.model.blocks} blocks") for name in names),
        ]
    return [
        (THIS, f"this layer: block {place.layer} {place.projection}"),
        (BLOCK, f"this block: {', '.join(names)} of block {place.layer}"),
        (PROJECTION, f"{place.projection} of all {run.model.blocks} blocks"),
        every,
    ]


def coverage_at_first(place: Place) -> str:
    """What a form covers unless told otherwise."""
    return THIS if place.page in {"layer", "neuron"} else ALL


def estimate_text(found: Mapping[VariantKind, Estimate]) -> Component:
    """What the work would take: a line for each thing that is made, and what the times rest on."""
    lines: list[Any] = []
    for kind, one in found.items():
        words = "done already, it shows at once." if one.store_bytes == 0 else _cost(one)
        lines += [html.Strong(f"{kind.capitalize()}: "), words, html.Br()]
    bases = dict.fromkeys(one.basis for one in found.values() if one.basis and one.store_bytes)
    return note([*lines, html.Span(f"Speed {'; '.join(bases)}.", className="muted") if bases else None])


def _cost(found: Estimate) -> str:
    return (
        f"about {theme.duration(max(1.0, found.seconds))}, {theme.size(found.host_bytes)} of memory, "
        f"{theme.size(found.store_bytes)} in the store."
    )
