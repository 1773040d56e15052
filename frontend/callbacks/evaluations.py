"""The form that evaluates, and the buttons that export."""

from __future__ import annotations

from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, no_update
from pydantic import ValidationError

from app.client import AsyncClient
from app.errors import WasserscopeError
from app.schemas.evaluation import EvaluationRequest
from frontend import ids, paths
from frontend.callbacks import on
from frontend.callbacks.forms import CORRECT, NEEDED
from frontend.components.common import error_of, error_panel, note
from frontend.components.evaluate_form import OWN, cost_text
from frontend.form_errors import FormErrors, fields_of, messages

FIELDS = {"type": "evaluate-field", "name": ALL}


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of evaluations and exports."""
    _estimated(app, client)
    _sent(app, client)
    _exported(app, client)


def _estimated(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.EVALUATE_ESTIMATE, "children"),
        Output(FIELDS, "error"),
        Input(FIELDS, "value"),
        State(FIELDS, "id"),
        State(ids.EVALUATE_PLACE, "data"),
        running=[(Output(ids.EVALUATE_ESTIMATE, "className"), "estimate loading", "estimate")],
    )
    async def estimate(values: list[Any], names: list[dict[str, str]], run: str) -> tuple[Any, list[Any]]:
        try:
            found = await client.estimate_evaluation(run, request_of(values, names))
        except FormErrors as error:
            return note(CORRECT), _at(names, error.fields)
        except WasserscopeError as error:
            fields = fields_of(error)
            return note(CORRECT) if fields else error_of(error), _at(names, fields)
        return cost_text(found), _at(names, {})


def _sent(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.EVALUATE_ANSWER, "children"),
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.EVALUATE_SUBMIT, "n_clicks"),
        State(FIELDS, "value"),
        State(FIELDS, "id"),
        State(ids.EVALUATE_PLACE, "data"),
        prevent_initial_call=True,
        running=[(Output(ids.EVALUATE_SUBMIT, "loading"), True, False)],
    )
    async def send(
        clicks: int | None, values: list[Any], names: list[dict[str, str]], run: str
    ) -> tuple[Any, Any]:
        if not clicks:
            return no_update, no_update
        try:
            submitted = await client.evaluate(run, request_of(values, names))
        except FormErrors as error:
            return error_panel("Not started", f"{error}.", "Correct the marked fields."), no_update
        except WasserscopeError as error:
            return error_of(error), no_update
        return None, paths.evaluation_path(run, submitted.evaluation.id)


def _exported(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.EXPORT_ANSWER, "children"),
        Output(ids.RELOAD, "data", allow_duplicate=True),
        Input({"type": "export", "variant": ALL}, "n_clicks"),
        State(ids.EVALUATE_PLACE, "data"),
        State(ids.RELOAD, "data"),
        prevent_initial_call=True,
    )
    async def export(clicks: list[int | None], run: str, reload: int) -> tuple[Any, Any]:
        button = ctx.triggered_id
        if not any(clicks) or not isinstance(button, dict):
            return no_update, no_update
        try:
            await client.export(run, button["variant"])
        except WasserscopeError as error:
            return error_of(error), no_update
        return None, reload + 1


def request_of(values: list[Any], names: list[dict[str, str]]) -> EvaluationRequest:
    """The request a form's values make. Raises FormErrors."""
    given = {name["name"]: value for name, value in zip(names, values, strict=True)}
    empty = [name for name, value in given.items() if value in (None, "") and name != "variants"]
    if empty:
        raise FormErrors(dict.fromkeys(empty, NEEDED))
    corpus = None if given["corpus"] == OWN else given["corpus"]
    try:
        return EvaluationRequest(**given | {"corpus": corpus, "variants": given["variants"] or []})
    except ValidationError as error:
        raise FormErrors(messages(error)) from error


def _at(names: list[dict[str, str]], errors: dict[str, str]) -> list[str | None]:
    """The message of each field, in their order."""
    return [errors.get(name["name"]) for name in names]
