"""What is wrong with a form's fields: from the schemas' own refusal and from the service's, a sentence for each field.

A field within a field is named with an underscore between, as in forms: ids of components may hold no dot.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from app.errors import WasserscopeError


class FormErrors(Exception):
    """Some fields do not fit: a message for each."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in fields.items()))
        self.fields = dict(fields)


def messages(error: ValidationError) -> dict[str, str]:
    """Fields by their names, each with what must be."""
    found: dict[str, str] = {}
    for part in error.errors():
        name = "_".join(str(step) for step in part["loc"] if not isinstance(step, int))
        message = part["msg"].removeprefix("Value error, ").replace("Input should be", "Must be")
        found.setdefault(name, message[0].upper() + message[1:])
    return found


def fields_of(error: WasserscopeError) -> dict[str, str]:
    """The fields that a refusal of the service is about, with what is said of each; empty when it is about none."""
    found: dict[str, str] = {}
    for one in error.errors:
        own = one.message == error.detail  # then what to do about it belongs to this field
        words = f"{error.detail} {error.hint}".strip() if own else one.message
        name = "_".join(step for step in one.field.split(".")[1:] if not step.isdigit())
        found.setdefault(name, words)
    return found
