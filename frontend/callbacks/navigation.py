"""Addresses and clicks: which page is shown, and where a click leads."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

from dash import ALL, Dash, Input, Output, State, no_update
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import WasserscopeError
from app.schemas.job import Job
from app.schemas.run import Run
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.common import error_of
from frontend.components.neuron_grid import grid_rows, request_query
from frontend.components.pin import pin_tools
from frontend.components.shell import breadcrumbs, run_choices
from frontend.components.variants import NONE
from frontend.figures.layer import neuron_at
from frontend.pages import router
from frontend.pages.map import newest

DEFAULTS = {"metric": "wd", "colour": "wd", "projection": "all", "pruning": NONE, "expansion": NONE}
"""Values of selectors that the query leaves out."""


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of navigation."""
    _pages(app, client)
    _header(app, client)
    _clicks(app)
    _table(app, client)


def _pages(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.PAGE, "children"),
        Output(ids.BREADCRUMBS, "children"),
        Input(ids.URL, "pathname"),
        Input(ids.URL, "search"),
        Input(ids.RELOAD, "data"),
        State(ids.URL, "href"),
        running=[(Output(ids.PAGE, "className"), "page loading", "page")],
    )
    async def show(pathname: str, search: str, _: int, href: str) -> tuple[Component, list[Component]]:
        place = paths.read(pathname, search, href)
        return await router.render(client, place), [*breadcrumbs(place), *pin_tools(place)]


def _header(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.RUN_SELECT, "data"),
        Output(ids.RUN_SELECT, "value"),
        Output(ids.RUN_SHOWN, "data"),
        Output(ids.JOBS_LINK, "children"),
        Output(ids.JOBS_LINK, "title"),
        Input(ids.URL, "pathname"),
        Input(ids.URL, "search"),
        Input(ids.RELOAD, "data"),
    )
    async def fill(
        pathname: str, search: str, _: int
    ) -> tuple[list[dict[str, str]], str | None, str | None, str, str]:
        runs, (label, title) = await asyncio.gather(_runs(client), _jobs_label(client))
        shown = paths.read(pathname, "").run or (found.id if (found := newest(runs)) else None)
        return run_choices(runs), shown, shown, label, title

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.RUN_SELECT, "value"),
        State(ids.RUN_SHOWN, "data"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def choose(run: str | None, shown: str | None, search: str) -> Any:
        # The value changes too when `fill` sets it: then it is the one shown.
        return no_update if not run or run == shown else paths.keep_pin(paths.run_path(run), search)

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Output(ids.JUMP, "error"),
        Output(ids.JUMP, "value"),
        Input(ids.JUMP, "n_submit"),
        State(ids.JUMP, "value"),
        State(ids.RUN_SELECT, "value"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def jump(_: int, text: str | None, run: str | None, search: str) -> tuple[Any, Any, Any]:
        if not text or not run:
            return no_update, None if run else "no run to look in", no_update
        address = paths.jump_path(run, text)
        if address is None:
            return no_update, "block.projection.neuron, e.g. 15.up_proj.402", no_update
        return paths.keep_variants(address, search), None, ""


async def _runs(client: AsyncClient) -> list[Run]:
    try:
        return (await client.runs()).items
    except WasserscopeError:
        return []  # the page itself shows this error


async def _jobs_label(client: AsyncClient) -> tuple[str, str]:
    try:
        jobs: list[Job] = (await client.jobs(limit=50, offset=0)).items
    except WasserscopeError as error:
        return "Jobs (?)", f"{error.title}: {error.detail}"
    live = sum(not job.state.final for job in jobs)
    return (f"Jobs ({live})" if live else "Jobs"), f"{live} queued or running"


def selected(values: list[str], names: list[dict[str, str]], pathname: str, search: str) -> str | None:
    """The address that selectors lead to, or None where it is the present one.

    Dash also calls when a page has come with its selectors. Somebody may have gone back by then: what a selector came
    with must not change the address.
    """
    old: dict[str, str | None] = dict(parse_qsl((search or "").removeprefix("?")))
    chosen = {name["key"]: value for name, value in zip(names, values, strict=True) if value != name["shown"]}
    new = old | {key: None if DEFAULTS.get(key) == value else value for key, value in chosen.items()}
    address = paths.with_query(pathname, new)
    return None if address == paths.with_query(pathname, old) else address


def _clicks(app: Dash) -> None:
    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.view(ALL, ALL), "value"),
        State(ids.view(ALL, ALL), "id"),
        State(ids.URL, "pathname"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def select(values: list[str], names: list[dict[str, str]], pathname: str, search: str) -> Any:
        return selected(values, names, pathname, search) or no_update

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.MAP_GRAPH, "clickData"),
        State(ids.MAP_PANELS, "data"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def map_click(click: dict[str, Any] | None, shown: dict[str, Any], search: str) -> Any:
        if not click:
            return no_update
        point = click["points"][0]
        name = shown["panels"][point["curveNumber"]]
        return paths.keep_variants(paths.layer_path(shown["run"], int(point["y"]), name), search)

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.LAYER_GRAPH, "clickData"),
        State(ids.LAYER_PLACE, "data"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def cell_click(click: dict[str, Any] | None, place: dict[str, Any], search: str) -> Any:
        if not click:
            return no_update
        point = click["points"][0]
        index = neuron_at(point["y"], point["x"], place["neurons"])
        if index is None:
            return no_update
        address = paths.neuron_path(place["run"], place["layer"], place["projection"], index)
        return paths.keep_variants(address, search)


def _table(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.NEURON_TABLE, "getRowsResponse"),
        Output(ids.NEURON_TABLE_ERROR, "children"),
        Input(ids.NEURON_TABLE, "getRowsRequest"),
        State(ids.NEURON_TABLE_QUERY, "data"),
        prevent_initial_call=True,
    )
    async def rows(request: dict[str, Any] | None, place: dict[str, Any]) -> tuple[Any, Any]:
        if not request:
            return no_update, no_update
        try:
            found = await client.neurons(place["run"], **request_query(request, place))
        except WasserscopeError as error:
            return grid_rows([], 0), error_of(error)
        return grid_rows(found.items, found.total), None

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.NEURON_TABLE, "cellClicked"),
        State(ids.NEURON_TABLE_QUERY, "data"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def row_click(click: dict[str, Any] | None, place: dict[str, Any], search: str) -> Any:
        address = paths.jump_path(place["run"], str((click or {}).get("rowId") or ""))
        return paths.keep_variants(address, search) if address else no_update
