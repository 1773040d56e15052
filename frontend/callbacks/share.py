"""The share of neurons above a common WD follows its slider."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, no_update
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import WasserscopeError
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.common import error_of
from frontend.components.share import number_of, same_wd, share_body


def register(app: Dash, client: AsyncClient) -> None:
    """The one callback."""

    @on(
        app,
        Output(ids.SHARE_BODY, "children"),
        Output(ids.SET_VIEW, "data", allow_duplicate=True),
        Input(ids.SHARE_SLIDER, "value"),
        State(ids.SHARE_RUN, "data"),
        State(ids.URL, "pathname"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    async def count(
        wd: float | None, shown: dict[str, Any], pathname: str, search: str
    ) -> tuple[list[Component] | Component, Any]:
        if wd is None:
            return no_update, no_update
        usual, most = shown["usual"], shown["most"]
        if same_wd(wd, number_of(paths.query_of(search).get("wd"), usual), most):
            return no_update, no_update  # Dash also calls when the slider has come with its page
        try:
            layers = await client.layers(shown["run"], min_wd=wd)
        except WasserscopeError as error:
            return error_of(error), no_update
        return share_body(layers, wd, shown["top_share"]), {
            "wd": None if same_wd(wd, usual, most) else f"{wd:.6g}",
            "_at": pathname,
        }
