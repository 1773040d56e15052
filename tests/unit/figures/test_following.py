"""Following jobs: when the page is made anew, and when it is not."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from app.client import AsyncClient
from app.schemas.job import Job, JobState
from frontend import ids
from frontend.callbacks.jobs import _status
from frontend.components.live import live_panel
from tests.unit.figures import fake_client as fake
from tests.unit.figures.fake_variants import PRUNING, a_pruning


def a_job(name: str, state: JobState) -> Job:
    return Job(id=name, kind="prune", state=state, run=fake.RUN, subject=PRUNING, title=name)


def status(client: fake.FakeClient, live: dict[str, Any] | None) -> tuple[list[Any], bool]:
    return asyncio.run(_status(cast(AsyncClient, client), live))


@pytest.mark.parametrize(
    ("live", "ended"), [(["job-one", "job-two"], True), (["job-two"], False), ([], False)]
)
def test_the_page_is_made_anew_for_jobs_that_were_live_on_it(live: list[str], ended: bool) -> None:
    """One that had failed before stands beside one that runs: it must not renew the page every second."""
    client = fake.FakeClient(
        jobs=[a_job("job-one", JobState.failed), a_job("job-two", JobState.running)], prunings=[a_pruning()]
    )
    shown = {"jobs": ["job-one", "job-two"], "live": live, "waits": [], "titled": True}
    parts, anew = status(client, shown)
    assert len(parts) == 2
    assert anew is ended


@pytest.mark.parametrize(("layer", "done"), [(3, True), (2, False)])
def test_a_layer_that_is_waited_for_renews_the_page_though_its_job_goes_on(layer: int, done: bool) -> None:
    client = fake.FakeClient(jobs=[a_job("job-one", JobState.running)], prunings=[a_pruning()])
    waits = [[fake.RUN, PRUNING, layer, "up_proj"]]
    _, anew = status(client, {"jobs": ["job-one"], "live": ["job-one"], "waits": waits, "titled": True})
    assert anew is done


def test_the_panel_knows_which_of_its_jobs_are_live() -> None:
    jobs = [a_job("job-one", JobState.failed), a_job("job-two", JobState.running)]
    store = next(part for part in live_panel(jobs) if getattr(part, "id", "") == ids.LIVE_JOB)
    assert store.data["live"] == ["job-two"]


def test_the_list_of_all_jobs_is_renewed_until_none_is_live() -> None:
    client = fake.FakeClient(jobs=[a_job("job-one", JobState.running)])
    assert status(client, {"list": {}})[1] is False
    ended = fake.FakeClient(jobs=[a_job("job-one", JobState.finished)])
    assert status(ended, {"list": {}})[1] is True


def test_the_list_keeps_its_filters_while_it_is_renewed() -> None:
    client = fake.FakeClient(jobs=[a_job("job-one", JobState.running), a_job("job-two", JobState.queued)])
    parts, _ = status(client, {"list": {"state": "queued"}})
    assert "job-two" in str(parts)
    assert "job-one" not in str(parts)
