"""Following and cancelling jobs. One interval, on the page only while a job is live."""

from __future__ import annotations

import asyncio
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, no_update
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import WasserscopeError
from frontend import ids
from frontend.callbacks import on
from frontend.components.common import error_of
from frontend.components.live import statuses
from frontend.pages.chosen import result_of
from frontend.pages.jobs import find, jobs_list, log_text


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of jobs."""

    @on(
        app,
        Output(ids.JOB_PANEL, "children"),
        Output(ids.RELOAD, "data", allow_duplicate=True),
        Input(ids.JOB_TICK, "n_intervals"),
        State(ids.LIVE_JOB, "data"),
        State(ids.RELOAD, "data"),
        prevent_initial_call=True,
    )
    async def tick(_: int | None, live: dict[str, Any] | None, reload: int) -> tuple[list[Component], Any]:
        try:
            children, ended = await _status(client, live)
        except WasserscopeError as error:
            return [error_of(error)], no_update
        return children, reload + 1 if ended else no_update

    @on(
        app,
        Output(ids.JOB_LOG, "children"),
        Input(ids.JOB_TICK, "n_intervals"),
        State(ids.LIVE_JOB, "data"),
        prevent_initial_call=True,
    )
    async def log(_: int | None, live: dict[str, Any] | None) -> list[Component]:
        try:
            return log_text(await client.log(live["jobs"][0] if live else ""))
        except WasserscopeError as error:
            return [error_of(error)]

    @on(
        app,
        Output(ids.JOB_PANEL, "children", allow_duplicate=True),
        Output(ids.RELOAD, "data", allow_duplicate=True),
        Input({"type": "cancel", "job": ALL}, "n_clicks"),
        Input({"type": "retry", "job": ALL}, "n_clicks"),
        State(ids.RELOAD, "data"),
        prevent_initial_call=True,
    )
    async def steer(cancels: list[int | None], retries: list[int | None], reload: int) -> tuple[Any, Any]:
        button = ctx.triggered_id
        if not (any(cancels) or any(retries)) or not isinstance(button, dict):
            return no_update, no_update
        send = client.cancel if button["type"] == "cancel" else client.retry
        try:
            await send(button["job"])
        except WasserscopeError as error:
            return [error_of(error)], no_update
        return no_update, reload + 1


async def _status(client: AsyncClient, live: dict[str, Any] | None) -> tuple[list[Component], bool]:
    """The panel of some jobs, or the table of all; and whether the page is to be made anew: nothing is live any more,
    one of several has ended, or a layer that the page waits for is done."""
    if live is None or "list" in live:
        chosen = live["list"] if live else {}
        found = await find(client, chosen)
        return jobs_list(found, chosen), all(job.state.final for job in found.items)
    jobs, done = await asyncio.gather(
        asyncio.gather(*(client.job(name) for name in live["jobs"])),
        asyncio.gather(*(_done(client, *wait) for wait in live["waits"])),
    )
    ended = any(job.state.final for job in jobs if job.id in live["live"]) or any(done)
    return statuses(jobs, live["titled"]), ended


async def _done(client: AsyncClient, run: str, variant: str, layer: int, projection: str) -> bool:
    """Whether a pruning or expansion has done a layer."""
    find = client.pruning if variant.startswith("p") else client.expansion
    return result_of(await find(run, variant), layer, projection) is not None
