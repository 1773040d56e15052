"""Jobs: the list, and one job with its log."""

from __future__ import annotations

import asyncio

from dash import dcc, html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.schemas.job import Job, JobLog
from frontend import ids, paths, theme
from frontend.components.common import button_link, card, column, empty_state, link, note, page_title
from frontend.components.job_panel import (
    TICK_MILLISECONDS,
    cancel_button,
    pace_of,
    phase_of,
    progress_bar,
    state_badge,
    title_of,
)
from frontend.components.live import live_panel
from frontend.components.runs_table import table
from frontend.paths import Place

LIMIT = 100


async def page(client: AsyncClient, place: Place) -> Component:
    """Every job, the newest first; renewed while one of them is live."""
    jobs = (await client.jobs(limit=LIMIT, offset=0)).items
    tools = button_link("New run", "/new", primary=not jobs)
    if not jobs:
        return column(
            page_title("Jobs"),
            empty_state("No jobs", note("A job appears here when a run is started."), tools),
        )
    parts: list[Component] = [
        page_title("Jobs", tools),
        html.Section(html.Div(jobs_table(jobs), className="scroll-x"), id=ids.JOB_PANEL, className="card"),
        dcc.Store(id=ids.LIVE_JOB, data=None),
    ]
    if any(not job.state.final for job in jobs):
        parts.append(dcc.Interval(id=ids.JOB_TICK, interval=TICK_MILLISECONDS))
    return column(*parts)


def jobs_table(jobs: list[Job]) -> Component:
    """State, phase and progress of each job."""
    rows = [
        [
            html.Div(
                [
                    link(title_of(job), paths.job_path(job.id)),
                    html.Div(job.id, className="muted small job-id", title=job.id),
                ]
            ),
            job.kind,
            state_badge(job.state),
            html.Div([html.Div(phase_of(job)), html.Div(pace_of(job), className="muted")]),
            html.Div(progress_bar(job), className="bar"),
            f"{100 * job.progress.fraction:.0f} %",
            theme.count(job.parts),
            job.device or "–",
            f"{job.created_at:%Y-%m-%d %H:%M}" if job.created_at else "–",
            cancel_button(job),
        ]
        for job in jobs
    ]
    head = ("job", "kind", "state", "phase", "progress", "", "parts", "device", "made", "")
    return table(head, rows, ids.JOBS_TABLE, right=(5, 6))


async def job_page(client: AsyncClient, place: Place) -> Component:
    """One job, followed while it is live, and what it wrote."""
    job, log = await asyncio.gather(client.job(place.job), client.log(place.job))
    return column(
        page_title(title_of(job), button_link(*_made(job))),
        *live_panel([job], titled=False),
        card("Facts", _facts(job)),
        card("Log", html.Div(log_text(log), id=ids.JOB_LOG)),
    )


def _made(job: Job) -> tuple[str, str]:
    """Words and address of what a job makes."""
    run = paths.run_path(job.run)
    for name, start in (("pruning", "p-"), ("expansion", "x-")):
        if job.subject is not None and job.subject.startswith(start):
            return f"Its {name}", paths.with_query(run, {name: job.subject})
    return "Its run", run


def _facts(job: Job) -> Component:
    times = {"queued": job.created_at, "started": job.started_at, "ended": job.ended_at}
    facts = {
        "id": job.id,
        "kind": job.kind,
        "parts": theme.count(job.parts),
        "worker": job.worker or "none",
        "device": job.device or "–",
        "tries": theme.count(job.tries),
        **{name: f"{time:%Y-%m-%d %H:%M:%S}" if time else "–" for name, time in times.items()},
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
