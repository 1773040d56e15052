"""From an address to its page, with what is pinned beside it. Errors of the service become panels on the page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import NotFound, WasserscopeError
from frontend.components.common import column, error_of, not_found
from frontend.pages import compare, evaluation, jobs, layer, map, neuron, new, sweep, variants
from frontend.paths import Place

PAGES: dict[str, Callable[[AsyncClient, Place], Awaitable[Component]]] = {
    "map": map.page,
    "new": new.page,
    "layer": layer.page,
    "neuron": neuron.page,
    "sweep": sweep.page,
    "variants": variants.page,
    "evaluation": evaluation.page,
    "jobs": jobs.page,
    "job": jobs.job_page,
}


async def render(client: AsyncClient, place: Place) -> Component:
    """The page of `place`; a panel with title, detail and hint where the service reports an error."""
    make = PAGES.get(place.page)
    if make is None:
        return not_found("There is no page at this address.", "The map leads to every layer and neuron.")
    try:
        page, beside = await asyncio.gather(make(client, place), compare.beside(client, place))
        if beside is not None and isinstance(page.children, list):
            page.children.insert(1, beside)  # below the page's head, where it is seen at once
        return page
    except NotFound as error:
        return not_found(error.detail, error.hint)
    except WasserscopeError as error:
        return column(error_of(error))
