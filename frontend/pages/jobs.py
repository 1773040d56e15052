"""Jobs: the list, and one job with its log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.schemas.job import Job, JobLog, JobState
from app.schemas.page import Page
from frontend import ids, paths, theme
from frontend.components.common import (
    button_link,
    card,
    column,
    empty_state,
    link,
    note,
    page_title,
    view_select,
)
from frontend.components.job_panel import (
    TICK_MILLISECONDS,
    job_badge,
    job_button,
    left_of,
    pace_of,
    phase_of,
    progress_bar,
    title_of,
)
from frontend.components.live import live_panel
from frontend.components.made import made_by
from frontend.components.runs_table import table
from frontend.paths import Place

LIMIT = 100
KINDS = ("explore", "prune", "expand", "evaluate", "export", "outputs", "sweep")
EVERY = "all"
HEAD = ("job", "kind", "state", "phase", "progress", "", "time left", "worker", "made, UTC", "")


def filters(query: Mapping[str, str]) -> dict[str, str]:
    """The state and the kind that an address asks for; what is none of ours is not asked for."""
    state, kind = query.get("state", EVERY), query.get("kind", EVERY)
    found = {"state": state} if state in set(JobState) else {}
    return found | ({"kind": kind} if kind in KINDS else {})


async def find(client: AsyncClient, chosen: Mapping[str, str]) -> Page[Job]:
    """The newest jobs that fit."""
    return await client.jobs(limit=LIMIT, offset=0, **chosen)


async def page(client: AsyncClient, place: Place) -> Component:
    """Jobs, the newest first, filtered as the address says; renewed while one of them is live."""
    chosen = filters(place.query)
    found = await find(client, chosen)
    tools = button_link("New run", "/new", primary=not found.total and not chosen)
    if not found.total and not chosen:
        words = "A job appears here when a run is started, or something is pruned, expanded, evaluated or exported."
        return column(page_title("Jobs"), empty_state("No jobs", note(words), tools))
    parts: list[Component] = [
        page_title("Jobs", *_selects(chosen), tools),
        html.Section(jobs_list(found, chosen), id=ids.JOB_PANEL, className="card"),
        dcc.Store(id=ids.LIVE_JOB, data={"list": chosen}),
    ]
    if any(not job.state.final for job in found.items):
        parts.append(dcc.Interval(id=ids.JOB_TICK, interval=TICK_MILLISECONDS))
    return column(*parts)


def _selects(chosen: Mapping[str, str]) -> list[Component]:
    return [
        view_select("state", "State", _options(list(JobState)), chosen.get("state", EVERY)),
        view_select("kind", "Kind", _options(KINDS), chosen.get("kind", EVERY)),
    ]


def _options(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"value": EVERY, "label": "any"}, *({"value": str(name), "label": str(name)} for name in names)]


def jobs_list(found: Page[Job], chosen: Mapping[str, str]) -> list[Component]:
    """The table, and how much of all it is."""
    if not found.items:
        without = link("Show all jobs", "/jobs")
        return [note("No job is like this. Records of ended jobs are forgotten after a while."), without]
    words = f"{theme.count(len(found.items))} of {theme.count(found.total)} jobs, the newest first."
    return [html.Div(jobs_table(found.items), className="scroll-x"), note(words)]


def jobs_table(jobs: list[Job]) -> Component:
    """State, phase and progress of each job."""
    return table(HEAD, [_row(job) for job in jobs], ids.JOBS_TABLE, right=(5, 6))


def _row(job: Job) -> list[object]:
    made, address = made_by(job)
    subject = (
        [" · ", link(job.subject, address, title=made)] if job.subject else [" · ", link("map", address)]
    )
    name = html.Div(
        [
            link(title_of(job), paths.job_path(job.id)),
            html.Div([html.Span(job.run), *subject], className="muted small job-id", title=job.id),
        ]
    )
    worker = [html.Div(job.worker or "–", className="job-worker", title=job.worker or "")]
    return [
        name,
        job.kind,
        job_badge(job),
        html.Div([html.Div(phase_of(job)), html.Div(pace_of(job, left=False), className="muted")]),
        html.Div(progress_bar(job), className="bar"),
        f"{100 * job.progress.fraction:.0f} %",
        left_of(job).removesuffix(" left") or "–",
        html.Div([*worker, html.Div(job.device, className="muted small") if job.device else None]),
        f"{job.created_at:%Y-%m-%d %H:%M}" if job.created_at else "–",
        job_button(job),
    ]


async def job_page(client: AsyncClient, place: Place) -> Component:
    """One job, followed while it is live, and what it wrote."""
    job, log = await asyncio.gather(client.job(place.job), client.log(place.job))
    words, address = made_by(job)
    finished = job.state is JobState.finished
    return column(
        page_title(title_of(job), html.Span(button_link(words, address, primary=finished), id=ids.JOB_MADE)),
        *live_panel([job], titled=False),
        card("Facts", _facts(job)),
        card("Log", html.Div(log_text(log), id=ids.JOB_LOG)),
    )


def _facts(job: Job) -> Component:
    times = {"queued": job.created_at, "started": job.started_at, "ended": job.ended_at}
    facts = {
        "id": job.id,
        "kind": job.kind,
        "run": link(job.run, paths.run_path(job.run)),
        "makes": link(job.subject, made_by(job)[1]) if job.subject else "the run itself",
        "parts": theme.count(job.parts),
        "worker": job.worker or "none",
        "device": job.device or "–",
        "tries": theme.count(job.tries),
        **{f"{name}, UTC": f"{time:%Y-%m-%d %H:%M:%S}" if time else "–" for name, time in times.items()},
    }
    rows = [html.Div([html.Dt(name), html.Dd(value)], className="fact") for name, value in facts.items()]
    return html.Dl(rows, className="facts")


def log_text(log: JobLog) -> list[Component]:
    """The lines, and how many older ones are gone."""
    if not log.lines:
        return [note("Nothing was written yet.")]
    gone = log.total - len(log.lines)
    parts = [note(f"{gone:,} older lines were dropped.")] if gone > 0 else []
    return [*parts, html.Pre("\n".join(log.lines), className="log", tabIndex="0")]
