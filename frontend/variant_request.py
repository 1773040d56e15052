"""From what the form that prunes or expands holds to the request it makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.schemas.expansion import ExpansionRequest
from app.schemas.pruning import Method, PruningRequest
from app.schemas.variant import SparsitySettings, VariantKind
from frontend.form_errors import FormErrors, messages

NEEDED = "A value is needed."
EVERY, ONLY, KEEP = "every", "only", "keep"
"""Which neurons are pruned: all, the chosen ones alone, all but the chosen ones."""
CHOICE = ("neurons_by", "neurons_share", "neurons_seed")
PERCENT = ("sparsity", "neurons_share")
"""Fields that are shown in percent and asked for as shares."""


def request_of(values: Mapping[str, Any], place: Mapping[str, Any]) -> PruningRequest | ExpansionRequest:
    """The request of a form. `place` says where it was opened and holds the settings it started with.

    Raises FormErrors.
    """
    given = {name: value for name, value in values.items() if name != "coverage"}
    if given.get("neurons") not in (ONLY, KEEP):
        given = {name: value for name, value in given.items() if name not in CHOICE}
    empty = {name for name, value in given.items() if value is None or value == ""} - {"pattern", "bits"}
    given["pattern"] = (given.get("pattern") or "").strip() or None
    if given["pattern"] and "sparsity" in empty:
        empty.discard("sparsity")
        given.pop("sparsity")
    if empty:
        raise FormErrors(dict.fromkeys(sorted(empty), NEEDED))
    for name in PERCENT:
        if name in given:
            given[name] = float(f"{float(given[name]) / 100:.10g}")
    given["bits"] = None if given.get("bits") in (None, "", "none") else given["bits"]
    settings = dict(place["settings"]) | _chosen(given) | _coverage(values.get("coverage"), values, place)
    model = PruningRequest if place["kind"] == VariantKind.pruning else ExpansionRequest
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise FormErrors(_messages(error)) from error


def _chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as the request has them: the choice of neurons is one of its own."""
    plain = {name: value for name, value in given.items() if name not in (*CHOICE, "neurons")}
    if "neurons" not in given:
        return plain
    if given["neurons"] == EVERY:
        return plain | {"neurons": None}
    choice = {name.removeprefix("neurons_"): given[name] for name in CHOICE if name in given}
    return plain | {"neurons": choice | {"keep": given["neurons"] == KEEP}}


def _coverage(chosen: Any, values: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, Any]:
    kind, _, name = str(chosen).partition(":")
    if values.get("propagate") or kind == "all":
        return {"layers": None, "projections": None}
    layers = [place["layer"]] if kind in {"this", "block"} else None
    projections = [name or place["projection"]] if kind in {"this", "projection"} else None
    return {"layers": layers, "projections": projections}


def _messages(error: ValidationError) -> dict[str, str]:
    """As the form says it: the schema's word for what concerns two fields is about the pattern."""
    mismatch = {str(part["loc"][0]) for part in error.errors() if part["type"] == "string_pattern_mismatch"}
    found = {name or "pattern": message for name, message in messages(error).items()}
    for name in PERCENT:
        if name in found:
            found[name] = "Between 0 and 100 %." if name == "sparsity" else "Above 0, at most 100 %."
    if "pattern" in mismatch:
        found["pattern"] = "N:M, two numbers: 2:4 for two zeros in each four weights."
    return found


def pruning_like(request: ExpansionRequest) -> PruningRequest:
    """The SparseGPT pruning that an expansion is compared with: the same settings and layers."""
    common = request.model_dump(
        include={*SparsitySettings.model_fields, "layers", "projections"}, mode="json"
    )
    return PruningRequest(method=Method.sparsegpt, **common)
