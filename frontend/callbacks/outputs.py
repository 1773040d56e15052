"""A layer's stored outputs on a neuron's page: stored, followed, asked; a range drawn; what cards hand out."""

from __future__ import annotations

from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, no_update
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import WasserscopeError
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.common import error_of
from frontend.components.numbers import interval_text
from frontend.components.outputs import storing_status
from frontend.downloads import download
from frontend.figures.shown import Axis
from frontend.neuron_view import end_text, here

STATUS = {"type": "outputs-status", "where": ALL}
PLACE = State(ids.URL, "pathname"), State(ids.URL, "search")


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of stored outputs."""
    _storing(app, client)
    _late(app, client)
    _ranges(app, client)
    _downloads(app, client)


def _storing(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(STATUS, "children"),
        Output(ids.RELOAD, "data", allow_duplicate=True),
        Input({"type": "store-outputs", "where": ALL}, "n_clicks"),
        State(STATUS, "id"),
        State(ids.RELOAD, "data"),
        *PLACE,
        prevent_initial_call=True,
    )
    async def start(
        clicks: list[int | None], spots: list[Any], reload: int, pathname: str, search: str
    ) -> tuple[list[Any], Any]:
        if not any(clicks):
            return [no_update] * len(spots), no_update
        place = paths.read(pathname, search)
        try:
            await client.store_outputs(place.run or "", place.layer, place.projection)
        except WasserscopeError as error:
            clicked = ctx.triggered_id["where"] if isinstance(ctx.triggered_id, dict) else ""
            return [error_of(error) if spot["where"] == clicked else no_update for spot in spots], no_update
        return [no_update] * len(spots), reload + 1

    @on(
        app,
        Output(STATUS, "children", allow_duplicate=True),
        Output(ids.RELOAD, "data", allow_duplicate=True),
        Input(ids.OUTPUTS_TICK, "n_intervals"),
        State(ids.OUTPUTS_JOB, "data"),
        State(STATUS, "id"),
        State(ids.RELOAD, "data"),
        prevent_initial_call=True,
    )
    async def tick(_: int | None, job: str, spots: list[Any], reload: int) -> tuple[list[Any], Any]:
        try:
            found = await client.job(job)
        except WasserscopeError as error:
            return [error_of(error)] * len(spots), no_update
        return [storing_status(found)] * len(spots), reload + 1 if found.state.final else no_update


def _late(app: Dash, client: AsyncClient) -> None:
    """What comes after the page: it takes longer than the page itself."""

    @on(
        app,
        Output(ids.number("wd_interval"), "children"),
        Output(ids.number("wd_interval"), "title"),
        Output(ids.INTERVAL_REMARK, "children"),
        Input(ids.NEURON_PLACE, "data"),
        *PLACE,
    )
    async def interval(shown: dict[str, Any], pathname: str, search: str) -> tuple[Any, Any, Any]:
        if not shown["stored"]:
            return no_update, no_update, no_update
        place = paths.read(pathname, search)
        try:
            found = await client.wd_interval(place.run or "", place.layer, place.projection, place.index)
        except WasserscopeError as error:
            return "–", "", f"{error.title}: {error.detail}"
        return interval_text(found)


def _ranges(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Output(ids.BRUSH_ANSWER, "children"),
        Input(ids.DISTRIBUTION_GRAPH, "selectedData"),
        State(ids.NEURON_PLACE, "data"),
        *PLACE,
        prevent_initial_call=True,
    )
    async def brush(
        selected: dict[str, Any] | None, shown: dict[str, Any], pathname: str, search: str
    ) -> tuple[Any, Component | None]:
        ends = ((selected or {}).get("range") or {}).get("x")
        if not ends:
            return no_update, None
        axis = Axis(shown["mean"], shown["std"]) if shown["standard"] and shown["std"] > 0 else Axis()
        low, high = sorted(axis.back(float(end)) for end in ends)
        place = paths.read(pathname, search)
        if not shown["stored"]:  # whoever draws a range wants its tokens
            try:
                await client.store_outputs(place.run or "", place.layer, place.projection)
            except WasserscopeError as error:
                return no_update, error_of(error)
        return here(place, tokens="range", low=end_text(low), high=end_text(high), sort=None), None

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.RANGE_SHOW, "n_clicks"),
        State(ids.RANGE_LOW, "value"),
        State(ids.RANGE_HIGH, "value"),
        *PLACE,
        prevent_initial_call=True,
    )
    def show(clicks: int | None, low: Any, high: Any, pathname: str, search: str) -> Any:
        if not clicks:
            return no_update
        ends = [None if value in (None, "") else end_text(float(value)) for value in (low, high)]
        return here(paths.read(pathname, search), tokens="range", low=ends[0], high=ends[1])


def _downloads(app: Dash, client: AsyncClient) -> None:
    @on(
        app,
        Output(ids.DOWNLOAD, "data"),
        Output(ids.DOWNLOAD_ERROR, "children"),
        Input({"type": "csv", "card": ALL}, "n_clicks"),
        State(ids.NEURON_PLACE, "data"),
        *PLACE,
        prevent_initial_call=True,
    )
    async def save(
        clicks: list[int | None], shown: dict[str, Any], pathname: str, search: str
    ) -> tuple[Any, Component | None]:
        if not any(clicks) or not isinstance(ctx.triggered_id, dict):
            return no_update, None
        place = paths.read(pathname, search)
        try:
            name, text = await download(client, ctx.triggered_id["card"], place, stored=shown["stored"])
        except WasserscopeError as error:
            return no_update, error_of(error)
        return dcc.send_string(text, name), None
