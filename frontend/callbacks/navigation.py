"""Addresses and clicks: which page is shown, and where a click leads."""

from __future__ import annotations

import asyncio
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from app.client import AsyncClient
from app.errors import WasserscopeError
from app.schemas.job import Job
from app.schemas.run import Run
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.pin import pin_tools
from frontend.components.shell import breadcrumbs, run_choices, service_status
from frontend.components.variants import NONE
from frontend.pages import router
from frontend.pages.map import newest
from frontend.zoom import dragged

DEFAULTS = {
    "metric": "wd",
    "colour": "wd",
    "projection": "all",
    "x": "wd",
    "y": "md",
    "pruning": NONE,
    "expansion": NONE,
    "state": "all",
    "kind": "all",
}
"""Values of selectors that the query leaves out."""


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of navigation."""
    _pages(app, client)
    _header(app, client)
    _addresses(app)
    _clicks(app)
    set_view = ClientsideFunction("view", "set")
    app.clientside_callback(set_view, Input(ids.SET_VIEW, "data"), prevent_initial_call=True)


def _pages(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.PAGE, "children"),
        Output(ids.BREADCRUMBS, "children"),
        Output(ids.MADE_FOR, "data"),
        Input(ids.URL, "pathname"),
        Input(ids.URL, "search"),
        Input(ids.RELOAD, "data"),
        State(ids.URL, "href"),
        State(ids.MADE_FOR, "data"),
        running=[(Output(ids.PAGE, "className"), "page loading", "page")],
    )
    async def show(
        pathname: str, search: str, _: int, href: str, made_for: str | None
    ) -> tuple[Component, list[Component], str]:
        wanted = paths.lasting(pathname, search)
        if wanted == made_for and not any(name.startswith(ids.RELOAD) for name in ctx.triggered_prop_ids):
            raise PreventUpdate  # only what the page's parts follow has changed
        place = paths.read(pathname, search, href)
        return await router.render(client, place), [*breadcrumbs(place), *pin_tools(place)], wanted


def _header(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.RUN_SELECT, "data"),
        Output(ids.RUN_SELECT, "value"),
        Output(ids.RUN_SHOWN, "data"),
        Output(ids.JOBS_LINK, "children"),
        Output(ids.JOBS_LINK, "title"),
        Output(ids.STATUS, "children"),
        Input(ids.URL, "pathname"),
        Input(ids.URL, "search"),
        Input(ids.RELOAD, "data"),
    )
    async def fill(pathname: str, search: str, _: int) -> tuple[Any, ...]:
        runs, (label, title, status) = await asyncio.gather(_runs(client), _jobs_label(client))
        shown = paths.read(pathname, "").run or (found.id if (found := newest(runs)) else None)
        return run_choices(runs), shown, shown, label, title, status

    @on(
        app,
        Output(ids.RELOAD, "data", allow_duplicate=True),
        Input(ids.STATUS_TICK, "n_intervals"),
        State(ids.RELOAD, "data"),
        prevent_initial_call=True,
    )
    async def recover(_: int | None, reload: int) -> Any:
        try:
            well = (await client.health()).redis.ok
        except WasserscopeError:
            well = False
        return reload + 1 if well else no_update


def _addresses(app: Dash) -> None:
    """What of the header leads elsewhere: the choice of a run, the jump box."""

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


async def _jobs_label(client: AsyncClient) -> tuple[str, str, Component | None]:
    try:
        jobs: list[Job] = (await client.jobs(limit=50, offset=0)).items
    except WasserscopeError as error:
        return "Jobs (?)", f"{error.title}: {error.detail}", service_status(error.title, error.detail)
    live = sum(not job.state.final for job in jobs)
    return (f"Jobs ({live})" if live else "Jobs"), f"{live} queued or running", None


def selected(values: list[str], names: list[dict[str, str]], pathname: str, search: str) -> str | None:
    """The address that selectors lead to, or None where it is the present one.

    Dash also calls when a page has come with its selectors. Somebody may have gone back by then: what a selector came
    with must not change the address.
    """
    old: dict[str, str | None] = {**paths.query_of(search)}
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
        name, leader = shown["curves"][point["curveNumber"]], _leader(point.get("customdata"))
        run, block = shown["run"], int(point["y"])
        if shown["single"] and leader is not None:
            return paths.keep_variants(paths.neuron_path(run, block, name, leader), search)
        return paths.keep_variants(paths.layer_path(run, block, name), search)

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.MAP_GRAPH, "relayoutData"),
        State(ids.MAP_PANELS, "data"),
        State(ids.URL, "pathname"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def map_zoom(relayout: dict[str, Any] | None, shown: dict[str, Any], pathname: str, search: str) -> Any:
        changes = dragged(relayout, shown)
        return no_update if changes is None else paths.with_query(pathname, paths.query_of(search) | changes)


def _leader(held: Any) -> int | None:
    """The neuron at the head of a cell, from its `customdata`: an array becomes a mapping on its way from the browser."""
    if isinstance(held, list):
        return int(held[2])
    return int(held["2"]) if isinstance(held, dict) else None
