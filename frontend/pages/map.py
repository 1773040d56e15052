"""The overview: the Wasserstein map of one run, and the list of runs."""

from __future__ import annotations

import asyncio

from dash import html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.schemas.job import Job
from app.schemas.layer import LayerSummary
from app.schemas.run import Run, RunState
from frontend import ids, theme
from frontend.components.common import (
    button_link,
    card,
    column,
    empty_state,
    graph,
    note,
    page_title,
    tile,
)
from frontend.components.live import live_panel
from frontend.components.neuron_grid import neuron_grid
from frontend.components.runs_table import runs_table
from frontend.components.share import share_card, wanted_wd
from frontend.components.shell import run_title
from frontend.components.table_view import table_view
from frontend.figures import trend
from frontend.pages.chosen import Chosen, bar, load, notices
from frontend.pages.map_card import map_card
from frontend.pages.new import form_card
from frontend.paths import Place

LIVE = {RunState.queued, RunState.running}


async def page(client: AsyncClient, place: Place) -> Component:
    """The map of the run in the address, else of the newest finished one, else the form for the first run."""
    runs = (await client.runs()).items
    run = await client.run(place.run) if place.run else newest(runs)
    if run is None:
        return column(
            empty_state(
                "No runs yet",
                note("The first run makes the map: which neurons answer least like a Gaussian."),
            ),
            await form_card(client, "Explore a model"),
        )
    if run.state is not RunState.finished:
        return column(
            page_title(run_title(run), button_link("New run", "/new")),
            *await _progress(client, run),
            *_waiting(run),
            card("Runs", runs_table(runs, run.id)),
        )
    chosen = await load(client, run.id, place)
    return column(
        page_title(run_title(run), button_link("New run", "/new"), below=bar(chosen)),
        *notices(chosen, place, jobs=[*chosen.at_work(), *_stopped(chosen)]),
        *await _results(client, run, place, chosen),
        card("Runs", runs_table(runs, run.id)),
    )


def _stopped(chosen: Chosen) -> list[Job]:
    """Jobs that left layers undone: where what they are about is not complete."""
    incomplete = {variant.id for variant in chosen.variants if not variant.complete}
    return [job for job in chosen.stopped() if job.subject in incomplete]


def newest(runs: list[Run]) -> Run | None:
    """The newest finished run, else the newest of all."""
    return next((run for run in runs if run.state is RunState.finished), runs[0] if runs else None)


async def _progress(client: AsyncClient, run: Run) -> list[Component]:
    if run.state is RunState.finished or run.job is None:
        return []
    job: Job = await client.job(run.job)
    return live_panel([job], titled=False)


def _waiting(run: Run) -> list[Component]:
    if run.state in LIVE:
        text = "The map appears here as soon as the run is finished. This page follows it."
        return [empty_state(f"This run is {run.state}", note(text))]
    text = "Start it again with the same settings: finished blocks are kept and it goes on from there."
    return [empty_state(f"This run is {run.state}", note(text), button_link("New run", "/new", primary=True))]


def tiles(run: Run, layers: list[LayerSummary]) -> Component:
    """The run in a few numbers and names."""
    above = sum(layer.above_floor for layer in layers)
    return html.Div(
        [
            tile("model", run.model.title, f"{run.model.source}, {run.model.fingerprint}"),
            tile("corpus", run.corpus_title or run.request.corpus, run.request.corpus),
            tile("tokens", theme.count(run.tokens)),
            tile("neurons", theme.count(run.neurons)),
            tile(
                "Gaussian floor",
                theme.number(run.gaussian_floor),
                f"{run.gaussian_floor}: mean WD of a true Gaussian sample of as many tokens",
            ),
            tile(
                "above the floor",
                f"{theme.number(100 * above / max(1, run.neurons))} %",
                f"{above:,} of {run.neurons:,} neurons have a WD above the Gaussian floor",
            ),
            tile("computed in", theme.duration(run.seconds), f"on {run.device}"),
        ],
        id=ids.TILES,
        className="tiles",
    )


async def _results(client: AsyncClient, run: Run, place: Place, chosen: Chosen) -> list[Component]:
    shown, layers = await asyncio.gather(map_card(client, run, place, chosen), client.layers(run.id))
    wd = wanted_wd(place.query, "wd", layers)
    return [
        tiles(run, layers),
        shown,
        card(
            "WD by depth",
            graph(
                ids.TREND_GRAPH,
                trend.trend_figure(layers, run.gaussian_floor, run.request.top_share),
                trend.trend_summary(layers),
            ),
            note(
                "Of each layer: the median, the middle half of its neurons, and from where its Wasserstein neurons begin. "
                f"Dashed: the Gaussian floor, {theme.number(run.gaussian_floor)} over {run.tokens:,} tokens."
            ),
        ),
        share_card(run, layers, await client.layers(run.id, min_wd=wd), wd),
        card(
            "Neurons of the whole model",
            *neuron_grid(run.id, **chosen.names, **table_view(place.query)),
            note("Click a row to open the neuron."),
        ),
    ]
