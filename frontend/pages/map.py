"""The overview: the Wasserstein map of one run, and the list of runs."""

from __future__ import annotations

import asyncio

from dash import dcc, html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.schemas.job import Job
from app.schemas.layer import LayerSummary, Metric, RunMap
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
from frontend.components.variants import DONE, undone_metric
from frontend.figures import map as figures
from frontend.figures import metrics
from frontend.pages.chosen import Chosen, bar, kind_of, load, notices
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
    metric = metrics.named(place.query.get("metric"))
    missing = metrics.lacking(metric, chosen.kinds)
    asked = Metric.wd if missing else metric
    run_map, layers = await asyncio.gather(
        client.map(run.id, metric=asked, bins=BINS, **chosen.names),
        client.layers(run.id),
    )
    names = figures.panels(run_map)
    shown = place.query.get("projection", ALL)
    if shown in names:
        run_map = run_map.model_copy(
            update={"rows": [row for row in run_map.rows if row.projection == shown]}
        )
    choices = [{"value": ALL, "label": "all"}, *({"value": name, "label": name} for name in names)]
    tools = [
        view_select("metric", "colour", metrics.choices(chosen.kinds), str(metric), wide=True),
        view_select("projection", "layers", choices, shown if shown in names else ALL),
    ]
    return [
        tiles(run, layers),
        card(
            "Wasserstein map" if metric is Metric.wd else f"Map of {theme.LABELS[metric]}",
            *([undone_metric(missing)] if missing else _map(run, run_map, chosen)),
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
        card(
            "Neurons of the whole model",
            *neuron_grid(run.id, **chosen.names),
            note("Click a row to open the neuron."),
        ),
    ]


def _map(run: Run, run_map: RunMap, chosen: Chosen) -> list[Component]:
    undone = _undone(run_map, chosen)
    figure = figures.map_figure(run_map, undone)
    return [
        graph(ids.MAP_GRAPH, figure, figures.map_summary(run_map)),
        dcc.Store(id=ids.MAP_PANELS, data={"run": run.id, "panels": [trace.name for trace in figure.data]}),
        note(_explanation(run_map, len(undone))),
    ]


def _undone(run_map: RunMap, chosen: Chosen) -> dict[tuple[int, str], str]:
    """Layers that what the metric needs has not done, and which that is."""
    needed = [variant for variant in chosen.variants if kind_of(variant) in run_map.metric.needs]
    done = {variant.id: {(r.layer, r.projection) for r in variant.layers} for variant in needed}
    found = {}
    for row in run_map.rows:
        place = (row.layer, row.projection)
        lacking = [DONE[kind_of(variant)] for variant in needed if place not in done[variant.id]]
        if lacking:
            found[place] = f"not {' and not '.join(lacking)} yet"
    return found


def _explanation(run_map: RunMap, undone: int) -> str:
    colours = figures.map_colours(run_map)
    text = "Each row is a layer, each column a bin of neurons, ranked from the highest. Click a cell to open its layer. "
    if undone < len(run_map.rows):
        text += (
            f"Colours run from {theme.number(colours.low)} to {theme.number(colours.high)}, "
            + (
                "as far on both sides of 1 as 99 % of the cells"
                if colours.logarithmic
                else "the 1st to the 99th"
            )
            + (" reach; " if colours.logarithmic else " percentile of the cells; ")
            + "values beyond have the colour at the end."
        )
    if undone:
        text += f" Hatched: {undone} of {len(run_map.rows)} layers that are not done; open one to do it."
    return " ".join([text, metrics.EXPLANATIONS.get(run_map.metric, "")]).strip()
