"""One neuron over sparsity: its distribution behind a slider, and its error against sparsity and number of experts."""

from __future__ import annotations

import asyncio

from dash import html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import NotFound, WasserscopeError
from app.schemas.job import Job
from app.schemas.layer import LayerSummary
from app.schemas.sweep import NeuronSweep, Sweep, SweepRequest
from frontend import ids, paths
from frontend.components.common import (
    card,
    column,
    graph,
    link,
    note,
    page_title,
    pair,
    tabs,
    view_select,
)
from frontend.components.live import live_panel
from frontend.components.steps import NeuronSteps
from frontend.components.sweep import ZEROS, experts_table, prepared, slider, stops_table, sweep_form
from frontend.figures import sweep as figures
from frontend.paths import Place

VIEW = ("y", "zeros", *paths.VARIANTS)
"""Entries of the query that go with one from neuron to neuron; the sweep itself only within its layer."""
MOST = 100


async def page(client: AsyncClient, place: Place) -> Component:
    """The neuron in the address at every point of the sweep in the query, or of the newest of its layer."""
    run = place.run or ""
    sweeps, layers = await asyncio.gather(
        client.sweeps(run, layer=place.layer, projection=place.projection, limit=MOST), client.layers(run)
    )
    _check(layers, place)
    chosen, unknown = _chosen(sweeps.items, place.query.get("sweep"))
    job = await _job(client, chosen)
    head = page_title(
        f"Sweep of neuron {place.index} of block {place.layer} · {place.projection}",
        *_moves(run, layers, place),
    )
    parts: list[Component | None] = [head, unknown]
    if chosen is not None and chosen.finished:
        neuron = await client.neuron_sweep(run, place.layer, place.projection, place.index, chosen.id)
        parts += _plots(neuron, chosen, place)
    else:
        parts += live_panel([job]) if job is not None else []
        if chosen is not None and (job is None or job.state.final):
            words = f"{chosen.done} of {len(chosen.points)} points of it are done and kept: it goes on after them."
            parts.append(card("This sweep is not finished", note(words)))
    working = job is not None and not job.state.final
    parts.append(_form(chosen, sweeps.items, place, opened=not working and not (chosen and chosen.finished)))
    return column(*(part for part in parts if part is not None))


def _check(layers: list[LayerSummary], place: Place) -> None:
    here = next((x for x in layers if (x.layer, x.projection) == (place.layer, place.projection)), None)
    if here is None or place.index >= here.neurons:
        raise NotFound(
            f"There is no neuron {place.index} in {place.projection} of block {place.layer}.",
            hint="See the run's layers.",
        )


def _chosen(sweeps: list[Sweep], wanted: str | None) -> tuple[Sweep | None, Component | None]:
    """The sweep that is shown: the one in the address, else the newest finished one, else the newest."""
    if wanted:
        found = next((sweep for sweep in sweeps if sweep.id == wanted), None)
        if found is not None:
            return found, None
        missing = card(
            "Not of this layer",
            html.P(f"The address names {wanted}: this layer has no such sweep."),
            role="alert",
        )
    else:
        missing = None
    finished = next((sweep for sweep in sweeps if sweep.finished), None)
    return finished or next(iter(sweeps), None), missing


async def _job(client: AsyncClient, sweep: Sweep | None) -> Job | None:
    """The job of a sweep that is not finished; None without one, or where the queue does not answer."""
    if sweep is None or sweep.finished or sweep.job is None:
        return None
    try:
        return await client.job(sweep.job)
    except WasserscopeError:
        return None


def _plots(found: NeuronSweep, sweep: Sweep, place: Place) -> list[Component | None]:
    every, log = figures.stops(found), place.query.get("y") == "log"
    at = _stop(place.query.get("zeros"), [stop.title for stop in every])
    scale = tabs("y axis", [("linear", _here(place, y=None), not log), ("log", _here(place, y="log"), log)])
    higher = " Higher peaks leave the top: log shows them whole." if figures.top(found)[1] and not log else ""
    shown = card(
        "Distribution against sparsity",
        graph(
            ids.SWEEP_GRAPH,
            figures.distribution_figure(found, at, log),
            figures.distribution_summary(found, every[at]),
        ),
        slider(every, at),
        html.P(
            figures.stop_words(found, every[at]),
            id=ids.SWEEP_WORDS,
            className="headline",
            **{"aria-live": "polite"},
        ),
        note(f"The axes hold every sparsity and do not move.{higher} {ZEROS}"),
        prepared(found, every, log),
        tools=scale,
    )
    curves = card(
        "Against sparsity",
        graph(ids.SWEEP_CURVES, figures.curves_figure(found, at), figures.curves_summary(found)),
        note(
            "Stars: N:M patterns. RI is the RMSE of SparseGPT over that of the experts: above 1 they are closer to dense."
        ),
    )
    tried = figures.by_experts(found, sweep.request)
    counts = card(
        f"Against the number of experts, at {100 * sweep.request.at:.6g} %",
        graph(
            ids.SWEEP_EXPERTS,
            figures.experts_figure(found, sweep.request),
            figures.experts_summary(found, sweep.request),
        )
        if tried
        else note("This sweep tried only one number of experts."),
        note("One expert is SparseGPT on the whole layer.") if tried else None,
    )
    numbers = card("Numbers at each sparsity", stops_table(found, every, at))
    return [
        shown,
        pair(curves, counts),
        numbers,
        card("Numbers for each number of experts", experts_table(tried)) if tried else None,
    ]


def _stop(wanted: str | None, titles: list[str]) -> int:
    """The slider's place: what the address names, else half of the weights, else the first."""
    names = [title.removesuffix(" %") for title in titles]
    for name in (wanted, "50"):
        if name in names:
            return names.index(name)
    return 0


def _form(chosen: Sweep | None, sweeps: list[Sweep], place: Place, opened: bool) -> Component:
    request = chosen.request if chosen else SweepRequest(layer=place.layer, projection=place.projection)
    select = None
    if len(sweeps) > 1 and chosen is not None:
        names = [
            {"value": sweep.id, "label": f"{sweep.title.partition(': ')[2]}, {sweep.created_at:%m-%d %H:%M}"}
            for sweep in sweeps
        ]
        select = view_select("sweep", "shown", names, chosen.id, wide=True)
    words = (
        "One job prunes and expands the whole layer at each sparsity from the run's stored inputs, and keeps every neuron's "
        "outputs in bins: then every neuron of this layer has its sweep."
    )
    return card(
        "Sweeps of this layer" if sweeps else "No sweep of this layer yet",
        note(words),
        html.Details(
            [html.Summary("Settings of a new sweep" if sweeps else "Settings"), sweep_form(request)],
            open=opened,
            className="more",
        ),
        tools=select,
    )


def _here(place: Place, **changes: str | None) -> str:
    kept: dict[str, str | None] = {key: place.query.get(key) for key in (*VIEW, "sweep")}
    return paths.with_query(place.path, kept | changes)


def _moves(run: str, layers: list[LayerSummary], place: Place) -> list[Component]:
    query = {key: place.query.get(key) for key in VIEW}

    def address(layer: int, index: int) -> str:
        same = {"sweep": place.query.get("sweep")} if layer == place.layer else {}
        return paths.with_query(paths.sweep_path(run, layer, place.projection, index), query | same)

    steps = NeuronSteps(place, layers, address)
    neuron = paths.neuron_path(run, place.layer, place.projection, place.index)
    return [
        link("Neuron", paths.with_query(neuron, paths.variants(place.query)), className="button"),
        *steps.beside(),
        *steps.across(),
    ]
