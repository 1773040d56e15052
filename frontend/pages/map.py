"""The overview: the Wasserstein map of one run, and the list of runs."""

from __future__ import annotations

import asyncio

from dash import dcc, html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.schemas.job import Job
from app.schemas.layer import LayerSummary, Metric
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
    view_select,
)
from frontend.components.live import live_panel
from frontend.components.neuron_grid import neuron_grid
from frontend.components.runs_table import runs_table
from frontend.components.shell import run_title
from frontend.figures import map as figures
from frontend.pages.new import form_card
from frontend.paths import Place

BINS = 512
ALL = "all"
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
    parts: list[Component] = [
        page_title(run_title(run), button_link("New run", "/new")),
        *await _progress(client, run),
        *(await _results(client, run, place) if run.state is RunState.finished else _waiting(run)),
        card("Runs", runs_table(runs, run.id)),
    ]
    return column(*parts)


def newest(runs: list[Run]) -> Run | None:
    """The newest finished run, else the newest of all."""
    return next((run for run in runs if run.state is RunState.finished), runs[0] if runs else None)


async def _progress(client: AsyncClient, run: Run) -> list[Component]:
    if run.state is RunState.finished or run.job is None:
        return []
    job: Job = await client.job(run.job)
    return live_panel(job)


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


async def _results(client: AsyncClient, run: Run, place: Place) -> list[Component]:
    metric = figures.metric_of(place.query.get("metric"))
    run_map, layers = await asyncio.gather(
        client.map(run.id, metric=metric, bins=BINS), client.layers(run.id)
    )
    names = figures.panels(run_map)
    shown = place.query.get("projection", ALL)
    if shown in names:
        run_map = run_map.model_copy(
            update={"rows": [row for row in run_map.rows if row.projection == shown]}
        )
    metrics = [{"value": str(item), "label": theme.LABELS[item]} for item in Metric]
    choices = [{"value": ALL, "label": "all"}, *({"value": name, "label": name} for name in names)]
    tools = [
        view_select("metric", "colour", metrics, str(metric)),
        view_select("projection", "layers", choices, shown if shown in names else ALL),
    ]
    return [
        tiles(run, layers),
        card(
            "Wasserstein map" if metric is Metric.wd else f"Map of {theme.LABELS[metric]}",
            graph(ids.MAP_GRAPH, figures.map_figure(run_map), figures.map_summary(run_map)),
            dcc.Store(id=ids.MAP_PANELS, data={"run": run.id, "panels": figures.panels(run_map)}),
            note(_explanation(metric, *figures.colour_range(run_map))),
            tools=tools,
        ),
        card(
            "By depth",
            graph(
                ids.TREND_GRAPH,
                figures.trend_figure(layers, run.gaussian_floor),
                figures.trend_summary(layers),
            ),
        ),
        card("Neurons of the whole model", *neuron_grid(run.id), note("Click a row to open the neuron.")),
    ]


def _explanation(metric: Metric, low: float, high: float) -> str:
    text = (
        "Each row is a layer, each column a bin of neurons, ranked from the highest. Click a cell to open its layer. "
        f"Colours run from {theme.number(low)} to {theme.number(high)}, the 1st to the 99th percentile of the cells; "
        "values beyond have the colour at the end."
    )
    if metric is Metric.md:
        text += " MD compares neurons within a layer only: compare the shapes of the rows, not their colours."
    return text
