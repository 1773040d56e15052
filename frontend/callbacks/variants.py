"""The form that prunes or expands: opened on a place, estimated while it is filled in, sent."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

from dash import ALL, Dash, Input, Output, State, ctx, no_update
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import WasserscopeError
from app.schemas.expansion import Expansion, ExpansionRequest
from app.schemas.model import Estimate
from app.schemas.pruning import Pruning, PruningRequest
from app.schemas.variant import VariantKind
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.common import error_of, note
from frontend.components.experts import expert_examples
from frontend.components.variant_form import TITLES, Start, estimate_text, settings_for, variant_form
from frontend.form_errors import FormErrors, fields_of
from frontend.pages.map import newest
from frontend.variant_request import CHOICE, EVERY, pruning_like, request_of

Requests = dict[VariantKind, PruningRequest | ExpansionRequest]
FIELDS = State({"type": "variant-field", "name": ALL}, "value")
FIELD_IDS = State({"type": "variant-field", "name": ALL}, "id")
FLAGS = State({"type": "variant-flag", "name": ALL}, "checked")
FLAG_IDS = State({"type": "variant-flag", "name": ALL}, "id")
ERRORS = {"type": "variant-field", "name": ALL}


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of the form."""
    _opened(app, client)
    _estimated(app, client)
    _sent(app, client)
    _examples(app, client)


def _opened(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.DRAWER, "opened"),
        Output(ids.DRAWER, "title"),
        Output(ids.DRAWER_BODY, "children"),
        Input({"type": "open-form", "kind": ALL, "where": ALL, "settings": ALL}, "n_clicks"),
        State(ids.URL, "pathname"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    async def show(clicks: list[int | None], pathname: str, search: str) -> tuple[Any, Any, Any]:
        button = ctx.triggered_id
        if not any(clicks) or not isinstance(button, dict):
            return no_update, no_update, no_update
        kind = VariantKind(button["kind"])
        try:
            start = await _start(client, kind, button["settings"], paths.read(pathname, search))
        except WasserscopeError as error:
            return True, TITLES[kind], error_of(error)
        return True, TITLES[kind], variant_form(start)

    app.clientside_callback(
        "() => false",
        Output(ids.DRAWER, "opened", allow_duplicate=True),
        Input(ids.URL, "pathname"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        "(pattern, name) => Boolean(pattern)",
        Output(ids.field("sparsity"), "disabled"),
        Input(ids.field("pattern"), "value"),
        prevent_initial_call=True,
    )
    for name in CHOICE:
        app.clientside_callback(
            f"(which) => which === {EVERY!r}",
            Output(ids.field(name), "disabled"),
            Input(ids.field("neurons"), "value"),
            prevent_initial_call=True,
        )
    app.clientside_callback(
        "(whole) => Boolean(whole)",
        Output(ids.field("coverage"), "disabled"),
        Input(ids.flag("propagate"), "checked"),
    )


async def _start(client: AsyncClient, kind: VariantKind, like: str, place: paths.Place) -> Start:
    if place.run is None:  # the map without a run in its address shows the newest
        shown = newest((await client.runs()).items)
        place = paths.Place("map", shown.id if shown else "")
    run = place.run or ""
    asked: Any = None
    if like:
        asked = client.pruning(run, like) if like.startswith("p") else client.expansion(run, like)
    known, made = await asyncio.gather(client.run(run), asked if like else asyncio.sleep(0))
    found: Pruning | Expansion | None = made if like else None
    return Start(kind, known, place, settings_for(kind, found), found.title if found else "")


def _estimated(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.VARIANT_ESTIMATE, "children"),
        Output(ERRORS, "error"),
        Output(ids.VARIANT_ANSWER, "children"),
        Output(ids.VARIANT_SUBMIT, "disabled"),
        Input({"type": "variant-field", "name": ALL}, "value"),
        Input({"type": "variant-flag", "name": ALL}, "checked"),
        Input(ids.VARIANT_BOTH, "checked"),
        FIELD_IDS,
        FLAG_IDS,
        State(ids.VARIANT_PLACE, "data"),
        running=[(Output(ids.VARIANT_ESTIMATE, "className"), "estimate loading", "estimate")],
    )
    async def estimate(
        values: list[Any],
        flags: list[bool],
        both: bool,
        names: list[dict[str, str]],
        flag_names: list[dict[str, str]],
        place: dict[str, Any],
    ) -> tuple[Any, list[Any], Any, bool]:
        try:
            requests = _requests(_values(values, names, flags, flag_names), place, both)
            found = await asyncio.gather(*(_estimate(client, place["run"], one) for one in requests.values()))
        except FormErrors as error:
            return note("Correct the marked fields for an estimate."), _at(names, error.fields), None, True
        except WasserscopeError as error:
            fields = fields_of(error)
            placed = any(name["name"] in fields for name in names)
            text = note("Correct the marked fields for an estimate.") if placed else None
            return text, _at(names, fields), None if placed else error_of(error), True
        lines = dict(zip(requests, found, strict=True))
        return estimate_text(lines), _at(names, {}), None, False


def _sent(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.DRAWER, "opened", allow_duplicate=True),
        Output(ids.URL, "href", allow_duplicate=True),
        Output(ids.RELOAD, "data", allow_duplicate=True),
        Output(ids.VARIANT_ANSWER, "children", allow_duplicate=True),
        Input(ids.VARIANT_SUBMIT, "n_clicks"),
        FIELDS,
        FLAGS,
        State(ids.VARIANT_BOTH, "checked"),
        FIELD_IDS,
        FLAG_IDS,
        State(ids.VARIANT_PLACE, "data"),
        State(ids.URL, "pathname"),
        State(ids.URL, "search"),
        State(ids.RELOAD, "data"),
        prevent_initial_call=True,
        running=[(Output(ids.VARIANT_SUBMIT, "loading"), True, False)],
    )
    async def send(
        clicks: int | None,
        values: list[Any],
        flags: list[bool],
        both: bool,
        names: list[dict[str, str]],
        flag_names: list[dict[str, str]],
        place: dict[str, Any],
        pathname: str,
        search: str,
        reload: int,
    ) -> tuple[Any, Any, Any, Any]:
        if not clicks:
            return no_update, no_update, no_update, no_update
        made: dict[str, str | None] = {}
        try:
            requests = _requests(_values(values, names, flags, flag_names), place, both)
            for kind in VariantKind:  # the pruning first: RI waits for nothing else then
                if kind in requests:
                    made[kind] = await _submit(client, place["run"], requests[kind])
        except FormErrors as error:
            return no_update, no_update, no_update, note(str(error))
        except WasserscopeError as error:
            return no_update, no_update, no_update, _refused(error, made)
        old: dict[str, str | None] = dict(parse_qsl((search or "").removeprefix("?")))
        address = paths.with_query(pathname, old | made)
        # Nothing is loaded again for an address that stays the same.
        same = address == paths.with_query(pathname, old)
        return False, no_update if same else address, reload + 1 if same else no_update, None


def _examples(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.EXPERT_EXAMPLES, "children"),
        Input(ids.EXPERTS_TABLE, "selectedRows"),
        State(ids.URL, "pathname"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    async def show(rows: list[dict[str, Any]] | None, pathname: str, search: str) -> Component | None:
        place = paths.read(pathname, search)
        expansion = place.query.get("expansion")
        if not rows or not expansion:
            return None
        try:
            found = await client.experts(place.run or "", expansion, place.layer, place.projection)
        except WasserscopeError as error:
            return error_of(error)
        return next((expert_examples(one) for one in found if one.expert == rows[0]["expert"]), None)


def _refused(error: WasserscopeError, made: dict[str, str | None]) -> list[Component]:
    started = [note(f"The {kind} was started all the same.") for kind in made]
    return [error_of(error), *started]


def _values(
    values: list[Any], names: list[dict[str, str]], flags: list[bool], flag_names: list[dict[str, str]]
) -> dict[str, Any]:
    fields = {name["name"]: value for name, value in zip(names, values, strict=True)}
    return fields | {name["name"]: bool(flag) for name, flag in zip(flag_names, flags, strict=True)}


def _requests(values: dict[str, Any], place: dict[str, Any], both: bool) -> Requests:
    """What is to be made: what the form is about, and with `both` the pruning that RI needs. Raises FormErrors."""
    request = request_of(values, place)
    found: Requests = {VariantKind(place["kind"]): request}
    if both and isinstance(request, ExpansionRequest):
        found[VariantKind.pruning] = pruning_like(request)
    return found


async def _estimate(client: AsyncClient, run: str, request: PruningRequest | ExpansionRequest) -> Estimate:
    if isinstance(request, PruningRequest):
        return await client.estimate_pruning(run, request)
    return await client.estimate_expansion(run, request)


async def _submit(client: AsyncClient, run: str, request: PruningRequest | ExpansionRequest) -> str:
    if isinstance(request, PruningRequest):
        return (await client.prune(run, request)).pruning.id
    return (await client.expand(run, request)).expansion.id


def _at(names: list[dict[str, str]], errors: dict[str, str]) -> list[str | None]:
    """The message of each field, in their order."""
    return [errors.get(name["name"]) for name in names]
