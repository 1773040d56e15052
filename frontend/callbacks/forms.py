"""The form that starts a run: checked and estimated while it is filled in, sent."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, no_update
from dash.development.base_component import Component
from pydantic import ValidationError

from app.client import AsyncClient
from app.errors import WasserscopeError
from app.schemas.run import RunRequest
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.common import error_of, error_panel, note
from frontend.components.form import estimate_text
from frontend.form_errors import FormErrors, fields_of, messages

FIELDS = {
    "model": ids.FORM_MODEL,
    "corpus": ids.FORM_CORPUS,
    "tokens": ids.FORM_TOKENS,
    "window": ids.FORM_WINDOW,
    "pairs": ids.FORM_PAIRS,
    "top_share": ids.FORM_TOP_SHARE,
    "seed": ids.FORM_SEED,
}
CORRECT = "Correct the marked fields for an estimate."
NEEDED = "A value is needed."


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of the form."""
    _estimated(app, client)
    _sent(app, client)


def _estimated(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.FORM_ESTIMATE, "children"),
        *[Output(name, "error") for name in FIELDS.values()],
        *[Input(name, "value") for name in FIELDS.values()],
        running=[(Output(ids.FORM_ESTIMATE, "className"), "estimate loading", "estimate")],
    )
    async def estimate(*values: Any) -> tuple[Any, ...]:
        try:
            request = request_of(dict(zip(FIELDS, values, strict=True)))
            found = await client.inspect(request.model, tokens=request.tokens, window=request.window)
        except FormErrors as error:
            return note(CORRECT), *_at(error.fields)
        except WasserscopeError as error:
            fields = fields_of(error)
            return note(CORRECT) if fields else error_of(error), *_at(fields)
        return estimate_text(found), *_at({})


def _sent(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.FORM_ANSWER, "children"),
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.FORM_SUBMIT, "n_clicks"),
        *[State(name, "value") for name in FIELDS.values()],
        prevent_initial_call=True,
        running=[(Output(ids.FORM_SUBMIT, "loading"), True, False)],
    )
    async def send(submit: int | None, *values: Any) -> tuple[Component | None, Any]:
        if not submit:
            return None, no_update
        try:
            submitted = await client.submit(request_of(dict(zip(FIELDS, values, strict=True))))
        except FormErrors as error:
            return error_panel("Not started", f"{error}.", "Correct the marked fields."), no_update
        except WasserscopeError as error:
            return error_of(error), no_update
        return None, paths.run_path(submitted.run.id)


def request_of(values: dict[str, Any]) -> RunRequest:
    """The request a form's values make. Raises FormErrors with a message for every field that does not fit."""
    empty = [name for name, value in values.items() if value in (None, "")]
    if empty:
        raise FormErrors(dict.fromkeys(empty, NEEDED))
    try:
        return RunRequest(**values)
    except ValidationError as error:
        raise FormErrors(messages(error)) from error


def _at(errors: dict[str, str]) -> list[str | None]:
    """The message of each field, in their order."""
    return [errors.get(name) for name in FIELDS]
