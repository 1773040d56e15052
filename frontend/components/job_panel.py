"""How a job stands: phase, bar, pace, time left, and the buttons that cancel it or try it again."""

from __future__ import annotations

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from app.schemas.job import Job, JobState
from frontend import ids, paths, theme
from frontend.components.common import error_panel, link, note
from frontend.components.made import made_by

TICK_MILLISECONDS = 1000
COLOURS = {
    JobState.queued: "gray",
    JobState.running: "blue",
    JobState.finished: "green",
    JobState.failed: "red",
    JobState.cancelled: "orange",
}
CANCELLING = "cancelling"


def state_badge(state: str) -> Component:
    """The state as a word in a coloured badge."""
    colour = COLOURS.get(JobState(state), "gray") if state in set(JobState) else "orange"
    return dmc.Badge(
        state, color=colour, variant="light", radius="sm", size="sm", miw="max-content", autoContrast=True
    )


def job_badge(job: Job) -> Component:
    """The state of a job; one that is to stop and has not yet is `cancelling`."""
    return state_badge(CANCELLING if job.cancelling else job.state)


def job_button(job: Job) -> Component | None:
    """The button that cancels a live job, or tries again one that did not finish."""
    if job.state is JobState.finished:
        return None
    if job.state.final:
        return dmc.Button(
            "Try again",
            id=ids.retry(job.id),
            variant="default",
            size="xs",
            **{"aria-label": f"try again {job.id}"},
        )
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


def device_note(job: Job) -> str:
    """Of a job that is cancelled or about to be: whether its device is free."""
    device = f"its device ({job.device})" if job.device else "its device"
    if job.cancelling:
        return (
            f"Cancel was asked for. {device.capitalize()} is free once the job's process has ended: at its next batch, or "
            "killed when that takes too long. Until then the state stays cancelling."
        )
    if job.state is not JobState.cancelled:
        return ""
    if job.started_at is None:
        return "Cancelled before a worker took it: no device was in use."
    ended = f" at {job.ended_at:%H:%M:%S} UTC" if job.ended_at else ""
    return f"Its process ended{ended}: {device} is free. What was finished is kept; try again to go on from there."


def blocks_of(job: Job) -> str:
    """`block 3 of 30`, or how many are done; empty where there are none."""
    if not job.progress.blocks:
        return ""
    done = job.progress.blocks if job.state is JobState.finished else job.progress.block or 0
    return f"{done} of {job.progress.blocks} blocks"


def left_of(job: Job) -> str:
    """Time left of a running job; empty where nobody knows."""
    if job.state is not JobState.running or job.progress.eta_seconds is None:
        return ""
    return f"{theme.duration(job.progress.eta_seconds)} left"


def pace_of(job: Job, left: bool = True) -> str:
    """Blocks, pace and time left of a running job."""
    rate = job.progress.tokens_per_second if job.state is JobState.running else None
    words = [
        blocks_of(job),
        f"in {job.parts} parts" if job.parts > 1 else "",
        f"{rate:,.0f} tokens/s" if rate else "",
        left_of(job) if left else "",
    ]
    return " · ".join(word for word in words if word)


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
    where = " on ".join(name for name in (job.worker, job.device) if name)
    free = device_note(job)
    parts: list[Component] = [
        html.H2(title_of(job), className="card-title job-title") if titled else None,
        html.Div(
            [
                job_badge(job),
                html.Span(phase_of(job), className="phase"),
                html.Span(className="spacer"),
                _made_link(job) if titled else None,
                link("log", paths.job_path(job.id), className="quiet"),
                job_button(job),
            ],
            className="row",
        ),
        progress_bar(job),
        html.Div(
            [
                html.Span(percent),
                html.Span(where, className="job-where", title=where)
                if job.state is JobState.running
                else None,
                html.Span(pace_of(job)),
            ],
            className="row between muted",
        ),
        note(free) if free else None,
    ]
    if job.problem is not None:
        parts.append(error_panel(job.problem.title, job.problem.detail, job.problem.hint))
    return parts


def _made_link(job: Job) -> Component | None:
    """To what a finished job made."""
    if job.state is not JobState.finished:
        return None
    words, address = made_by(job)
    return link(words, address, className="quiet")
