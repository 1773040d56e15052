"""A panel that follows a job while it is live; its interval is on the page only that long."""

from __future__ import annotations

from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.job import Job
from frontend import ids
from frontend.components.job_panel import TICK_MILLISECONDS, job_status


def live_panel(job: Job) -> list[Component]:
    """The panel, and while the job is live the interval that renews it."""
    parts: list[Component] = [
        html.Section(job_status(job), id=ids.JOB_PANEL, className="card", **{"aria-live": "polite"}),
        dcc.Store(id=ids.LIVE_JOB, data=job.id),
    ]
    if not job.state.final:
        parts.append(dcc.Interval(id=ids.JOB_TICK, interval=TICK_MILLISECONDS))
    return parts
