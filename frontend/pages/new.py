"""Start a run."""

from __future__ import annotations

import asyncio

from dash.development.base_component import Component

from app.client import AsyncClient
from frontend.components.common import card, column, note, page_title
from frontend.components.form import explore_form
from frontend.paths import Place


async def form_card(client: AsyncClient, title: str) -> Component:
    """The form in a card."""
    models, corpora = await asyncio.gather(client.models(), client.corpora())
    return card(
        title,
        note(
            "A run passes the corpus through the model once and scores every neuron of its feed-forward layers."
        ),
        explore_form(models, corpora.items),
    )


async def page(client: AsyncClient, place: Place) -> Component:
    """The form on a page of its own."""
    return column(page_title("New run"), await form_card(client, "Explore a model"))
