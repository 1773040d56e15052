"""The form that starts a sweep, and the slider, which the browser moves by itself (assets/sweep.js)."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, no_update

from app.client import AsyncClient
from app.errors import WasserscopeError
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.common import error_of, note
from frontend.components.sweep import estimate_text, request_of
from frontend.form_errors import FormErrors, fields_of

FIELD: dict[str, Any] = {"type": "sweep-field", "name": ALL}
CORRECT = "Correct the marked fields for an estimate."


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of sweeps."""
    app.clientside_callback(
        ClientsideFunction("sweep", "show"),
        Output(ids.SWEEP_WORDS, "children"),
        Input(ids.SWEEP_SLIDER, "value"),
        State(ids.SWEEP_DATA, "data"),
        prevent_initial_call=True,
    )
    _estimated(app, client)
    _sent(app, client)


def _estimated(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.SWEEP_ESTIMATE, "children"),
        Output(FIELD, "error"),
        Output(ids.SWEEP_SUBMIT, "disabled"),
        Input(FIELD, "value"),
        State(FIELD, "id"),
        State(ids.URL, "pathname"),
        running=[(Output(ids.SWEEP_ESTIMATE, "className"), "estimate loading", "estimate")],
    )
    async def estimate(
        values: list[Any], names: list[dict[str, str]], pathname: str
    ) -> tuple[Any, list[Any], bool]:
        place, fields = paths.read(pathname, ""), [name["name"] for name in names]
        try:
            request = request_of(dict(zip(fields, values, strict=True)), place.layer, place.projection)
            found = await client.estimate_sweep(place.run or "", request)
        except FormErrors as error:
            return note(CORRECT), [error.fields.get(name) for name in fields], True
        except WasserscopeError as error:
            wrong = _placed(error)
            marks = [wrong.get(name) for name in fields]
            return note(CORRECT) if any(marks) else error_of(error), marks, True
        return estimate_text(found), [None] * len(fields), False


def _sent(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Output(ids.RELOAD, "data", allow_duplicate=True),
        Output(ids.SWEEP_ANSWER, "children"),
        Input(ids.SWEEP_SUBMIT, "n_clicks"),
        State(FIELD, "value"),
        State(FIELD, "id"),
        State(ids.URL, "pathname"),
        State(ids.URL, "search"),
        State(ids.RELOAD, "data"),
        prevent_initial_call=True,
        running=[(Output(ids.SWEEP_SUBMIT, "loading"), True, False)],
    )
    async def send(
        clicks: int | None,
        values: list[Any],
        names: list[dict[str, str]],
        pathname: str,
        search: str,
        reload: int,
    ) -> tuple[Any, Any, Any]:
        if not clicks:
            return no_update, no_update, no_update
        place = paths.read(pathname, search)
        try:
            fields = dict(zip((name["name"] for name in names), values, strict=True))
            submitted = await client.sweep(place.run or "", request_of(fields, place.layer, place.projection))
        except FormErrors as error:
            return no_update, no_update, note(str(error))
        except WasserscopeError as error:
            return no_update, no_update, error_of(error)
        old: dict[str, str | None] = dict(parse_qsl((search or "").removeprefix("?")))
        same = old.get("sweep") == submitted.sweep.id
        address = paths.with_query(pathname, old | {"sweep": submitted.sweep.id})
        # Nothing is loaded again for an address that stays the same.
        return no_update if same else address, (reload or 0) + 1 if same else no_update, None


def _placed(error: WasserscopeError) -> dict[str, str]:
    """The fields that a refusal is about; the form's names of what prunings call otherwise."""
    other = {"pattern": "patterns", "sparsity": "sparsities"}
    return {other.get(name, name): words for name, words in fields_of(error).items()}
