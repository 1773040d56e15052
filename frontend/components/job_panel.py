"""How a job stands: phase, bar, pace, time left, and the button that cancels it."""

from __future__ import annotations

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from app.schemas.job import Job, JobState
from frontend import ids, paths, theme
from frontend.components.common import error_panel, link

TICK_MILLISECONDS = 1000
COLOURS = {
    JobState.queued: "gray",
    JobState.running: "blue",
    JobState.finished: "green",
    JobState.failed: "red",
    JobState.cancelled: "orange",
}


def state_badge(state: str) -> Component:
    """The state as a word in a coloured badge."""
    colour = COLOURS.get(JobState(state), "gray") if state in set(JobState) else "gray"
    return dmc.Badge(state, color=colour, variant="light", radius="sm", size="sm")


def cancel_button(job: Job) -> Component | None:
    """The button that cancels a live job."""
    if job.state.final:
        return None
    return dmc.Button(
        "Cancelling…" if job.cancelling else "Cancel",
        id=ids.cancel(job.id),
        disabled=job.cancelling,
        variant="default",
        size="xs",
        **{"aria-label": f"cancel {job.id}"},
    )


def phase_of(job: Job) -> str:
    """What the job does, in words; for one that has ended, how long it took."""
    if job.state is JobState.queued:
        return "waiting in the queue" + (f", place {job.place}" if job.place else "")
    if job.state is JobState.running:
        return job.progress.phase
    if job.started_at is None or job.ended_at is None:
        return ""
    return f"after {theme.duration((job.ended_at - job.started_at).total_seconds())}"


def pace_of(job: Job) -> str:
    """Blocks, pace and time left of a running job."""
    parts: list[str] = []
    if job.progress.blocks:
        done = job.progress.blocks if job.state is JobState.finished else job.progress.block or 0
        parts.append(f"{done} of {job.progress.blocks} blocks")
    if job.parts > 1:
        parts.append(f"in {job.parts} parts")
    if job.state is JobState.running and job.progress.tokens_per_second:
        parts.append(f"{job.progress.tokens_per_second:,.0f} tokens/s")
    if job.state is JobState.running and job.progress.eta_seconds is not None:
        parts.append(f"{theme.duration(job.progress.eta_seconds)} left")
    return " · ".join(parts)


def progress_bar(job: Job) -> Component:
    """The share that is done."""
    percent = round(100 * job.progress.fraction)
    return dmc.Progress(
        value=percent,
        animated=job.state is JobState.running,
        size="md",
        **{"aria-label": f"{percent} % done"},
    )


def title_of(job: Job) -> str:
    """What a job does, in words; its id where it has none."""
    return job.title or job.id


def job_status(job: Job, titled: bool = False) -> list[Component]:
    """How a job stands, with its title above where it is one of several things on a page."""
    percent = f"{100 * job.progress.fraction:.0f} %"
    parts: list[Component] = [
        html.H2(title_of(job), className="card-title job-title") if titled else None,
        html.Div(
            [
                state_badge(job.state),
                html.Span(phase_of(job), className="phase"),
                html.Span(className="spacer"),
                link("log", paths.job_path(job.id), className="quiet"),
                cancel_button(job),
            ],
            className="row",
        ),
        progress_bar(job),
        html.Div([html.Span(percent), html.Span(pace_of(job))], className="row between muted"),
    ]
    if job.problem is not None:
        parts.append(error_panel(job.problem.title, job.problem.detail, job.problem.hint))
    return parts
