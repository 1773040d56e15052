"""The table of neurons: its rows, its order and conditions in the address, and where a click leads."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, no_update

from app.client import AsyncClient
from app.errors import WasserscopeError
from frontend import ids, paths
from frontend.callbacks import on
from frontend.components.common import error_of
from frontend.components.neuron_grid import grid_rows, list_words, request_query
from frontend.components.table_view import address_of, asked_view


def register(app: Dash, client: AsyncClient) -> None:
    """All callbacks of the table."""

    @on(
        app,
        Output(ids.NEURON_TABLE, "getRowsResponse"),
        Output(ids.NEURON_TABLE_ERROR, "children"),
        Output(ids.NEURON_TABLE_PLACE, "children"),
        Output(ids.SET_VIEW, "data", allow_duplicate=True),
        Input(ids.NEURON_TABLE, "getRowsRequest"),
        State(ids.NEURON_TABLE_QUERY, "data"),
        State(ids.URL, "pathname"),
        prevent_initial_call=True,
    )
    async def rows(
        request: dict[str, Any] | None, place: dict[str, Any], pathname: str
    ) -> tuple[Any, Any, Any, Any]:
        if not request:
            return no_update, no_update, no_update, no_update
        view = asked_view(request)
        try:
            found = await client.neurons(place["run"], **request_query(request, place))
        except WasserscopeError as error:
            return grid_rows([], 0), error_of(error), "", no_update
        changes = {**address_of(view), "_at": pathname}
        return grid_rows(found.items, found.total), None, list_words(found.total, view), changes

    @on(
        app,
        Output(ids.NEURON_TABLE, "scrollTo", allow_duplicate=True),
        Input(ids.NEURON_TABLE_GOTO, "value"),
        prevent_initial_call=True,
    )
    def go_to(place: float | str | None) -> Any:
        try:
            return {"rowIndex": max(1, int(place or 0)) - 1, "rowPosition": "top"} if place else no_update
        except ValueError:
            return no_update

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.NEURON_TABLE, "cellClicked"),
        State(ids.NEURON_TABLE_QUERY, "data"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def click(cell: dict[str, Any] | None, place: dict[str, Any], search: str) -> Any:
        return _address(place, str((cell or {}).get("rowId") or ""), search)

    @on(
        app,
        Output(ids.URL, "href", allow_duplicate=True),
        Input(ids.OPEN_ROW, "data"),
        State(ids.NEURON_TABLE_QUERY, "data"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def enter(opened: dict[str, Any] | None, place: dict[str, Any], search: str) -> Any:
        return _address(place, str((opened or {}).get("row") or ""), search)


def _address(place: dict[str, Any], key: str, search: str) -> Any:
    address = paths.jump_path(place["run"], key)
    return paths.keep_variants(address, search) if address else no_update
