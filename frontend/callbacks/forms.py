"""The form that starts a run."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, ctx, no_update
from dash.development.base_component import Component
from pydantic import ValidationError

from app.client import AsyncClient
from app.errors import InvalidRequest, WasserscopeError
from app.schemas.run import RunRequest
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.common import error_of
from frontend.components.form import estimate_text

FIELDS = {
    "model": ids.FORM_MODEL,
    "corpus": ids.FORM_CORPUS,
    "tokens": ids.FORM_TOKENS,
    "window": ids.FORM_WINDOW,
    "pairs": ids.FORM_PAIRS,
    "top_share": ids.FORM_TOP_SHARE,
    "seed": ids.FORM_SEED,
}


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of the form."""

    @on(
        app,
        Output(ids.FORM_ANSWER, "children"),
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.FORM_SUBMIT, "n_clicks"),
        Input(ids.FORM_ESTIMATE, "n_clicks"),
        *[State(name, "value") for name in FIELDS.values()],
        prevent_initial_call=True,
        running=[
            (Output(ids.FORM_SUBMIT, "loading"), True, False),
            (Output(ids.FORM_ESTIMATE, "disabled"), True, False),
        ],
    )
    async def send(submit: int | None, estimate: int | None, *values: Any) -> tuple[Component | None, Any]:
        if not submit and not estimate:
            return None, no_update
        try:
            request = request_of(dict(zip(FIELDS, values, strict=True)))
            if ctx.triggered_id == ids.FORM_ESTIMATE:
                found = await client.inspect(request.model, tokens=request.tokens, window=request.window)
                return estimate_text(found), no_update
            submitted = await client.submit(request)
        except WasserscopeError as error:
            return error_of(error), no_update
        return None, paths.run_path(submitted.run.id)


def request_of(values: dict[str, Any]) -> RunRequest:
    """The request a form's values make; InvalidRequest names every field that does not fit."""
    given = {name: value for name, value in values.items() if value not in (None, "")}
    try:
        return RunRequest(**given)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        raise InvalidRequest(wrong, hint="Correct the field and start again.") from error
