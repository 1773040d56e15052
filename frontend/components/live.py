"""A panel that follows jobs while they are live; its interval is on the page only that long."""

from __future__ import annotations

from collections.abc import Sequence

from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.job import Job
from frontend import ids
from frontend.components.job_panel import TICK_MILLISECONDS, job_status

Wait = tuple[str, str, int, str]
"""A layer that the page waits for: id of the run and of the pruning or expansion, block, projection."""


def live_panel(jobs: Sequence[Job], waits: Sequence[Wait] = (), titled: bool = True) -> list[Component]:
    """The panel, and while one of the jobs is live the interval that renews it.

    waits: layers; the page is made anew as soon as one of them is done, though its job goes on with others.
    titled: whether each job's title stands above its state.
    """
    parts: list[Component] = [
        html.Section(
            statuses(jobs, titled),
            id=ids.JOB_PANEL,
            className="card",
            **{"aria-live": "polite"},
        ),
        dcc.Store(
            id=ids.LIVE_JOB,
            data={
                "jobs": [job.id for job in jobs],
                "live": [job.id for job in jobs if not job.state.final],
                "waits": [list(wait) for wait in waits],
                "titled": titled,
            },
        ),
    ]
    if any(not job.state.final for job in jobs):
        parts.append(dcc.Interval(id=ids.JOB_TICK, interval=TICK_MILLISECONDS))
    return parts


def statuses(jobs: Sequence[Job], titled: bool) -> list[Component]:
    """How each job stands; replaced at every tick."""
    return [html.Div(job_status(job, titled), className="job") for job in jobs]
