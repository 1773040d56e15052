"""From what the form that prunes or expands holds to the request it makes, and from a refusal to the field it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.errors import WasserscopeError
from app.schemas.expansion import ExpansionRequest
from app.schemas.pruning import Method, PruningRequest
from app.schemas.variant import SparsitySettings, VariantKind

NEEDED = "A value is needed."


class FormErrors(Exception):
    """Some fields do not fit: a message for each."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in fields.items()))
        self.fields = dict(fields)


def request_of(values: Mapping[str, Any], place: Mapping[str, Any]) -> PruningRequest | ExpansionRequest:
    """The request of a form. `place` says where it was opened and holds the settings it started with.

    Raises FormErrors.
    """
    given = {name: value for name, value in values.items() if name != "coverage"}
    empty = {name for name, value in given.items() if value is None or value == ""} - {"pattern", "bits"}
    given["pattern"] = (given.get("pattern") or "").strip() or None
    if given["pattern"] and "sparsity" in empty:
        empty.discard("sparsity")
        given.pop("sparsity")
    if empty:
        raise FormErrors(dict.fromkeys(sorted(empty), NEEDED))
    if "sparsity" in given:
        given["sparsity"] = float(f"{float(given['sparsity']) / 100:.10g}")
    given["bits"] = None if given.get("bits") in (None, "", "none") else given["bits"]
    settings = dict(place["settings"]) | given | _coverage(values.get("coverage"), values, place)
    settings["compare"] = True  # what is not compared cannot be looked at
    model = PruningRequest if place["kind"] == VariantKind.pruning else ExpansionRequest
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise FormErrors(_messages(error)) from error


def _coverage(chosen: Any, values: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, Any]:
    kind, _, name = str(chosen).partition(":")
    if values.get("propagate") or kind == "all":
        return {"layers": None, "projections": None}
    layers = [place["layer"]] if kind in {"this", "block"} else None
    projections = [name or place["projection"]] if kind in {"this", "projection"} else None
    return {"layers": layers, "projections": projections}


def _messages(error: ValidationError) -> dict[str, str]:
    found = {}
    for part in error.errors():
        name = str(part["loc"][0]) if part["loc"] else "pattern"
        message = part["msg"].removeprefix("Value error, ").replace("Input should be", "Must be")
        if name == "sparsity":
            message = "Between 0 and 100 %."
        elif name == "pattern" and part["type"] == "string_pattern_mismatch":
            message = "N:M, two numbers: 2:4 for two zeros in each four weights."
        found[name] = message[0].upper() + message[1:]
    return found


def pruning_like(request: ExpansionRequest) -> PruningRequest:
    """The SparseGPT pruning that an expansion is compared with: the same settings and layers."""
    common = request.model_dump(
        include={*SparsitySettings.model_fields, "layers", "projections"}, mode="json"
    )
    return PruningRequest(method=Method.sparsegpt, **common)


def fields_of(error: WasserscopeError) -> dict[str, str]:
    """The fields that a refusal of the service is about, with what is said of each; empty when it is about none."""
    found: dict[str, str] = {}
    for one in error.errors:
        own = one.message == error.detail  # then what to do about it belongs to this field
        words = f"{error.detail} {error.hint}".strip() if own else one.message
        found.setdefault(one.field.removeprefix("body."), words)
    return found
