"""ETags of finished runs, events of a job under way, and what a page of another site may do."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api import jobs
from app.errors import NotFound, QueueUnavailable
from app.main import create_api, guarded
from app.schemas.job import Job, JobState, Progress
from app.settings import Settings
from app.store import Store
from tests.contract.conftest import FakeQueue
from tests.unit.store.made import make_run


@pytest.mark.parametrize(
    "path", ["layers", "map", "neurons?limit=2", "neurons?format=csv", "layers/0/gate_proj"]
)
def test_what_a_client_has_already_is_not_sent_again(api: TestClient, run: str, path: str) -> None:
    first = api.get(f"/v1/runs/{run}/{path}")
    assert first.headers["cache-control"] == "private, no-cache"
    again = api.get(f"/v1/runs/{run}/{path}", headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


def test_two_addresses_never_share_an_etag(api: TestClient, run: str) -> None:
    paths = ["layers", "map", "map?metric=md", "neurons", "neurons?limit=1", "layers/0/gate_proj/neurons/1"]
    assert len({api.get(f"/v1/runs/{run}/{path}").headers["etag"] for path in paths}) == len(paths)


def test_a_deleted_run_is_gone_also_for_those_who_have_it(api: TestClient, run: str) -> None:
    tag = api.get(f"/v1/runs/{run}/map").headers["etag"]
    assert api.delete(f"/v1/runs/{run}").status_code == 204
    assert api.get(f"/v1/runs/{run}/map", headers={"If-None-Match": tag}).status_code == 404


def test_a_run_under_way_and_errors_have_no_etag(api: TestClient, store: Store) -> None:
    run = make_run(store, blocks=2)
    assert "etag" not in api.get(f"/v1/runs/{run}/map").headers
    assert "etag" not in api.get(f"/v1/runs/{run}/layers/99/gate_proj").headers


class Moving(FakeQueue):
    """A queue whose one job goes through given states, one at each look; an exception is raised."""

    def __init__(self, *steps: Job | Exception) -> None:
        super().__init__()
        self._steps = list(steps)

    def get(self, job_id: str) -> Job:
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, Exception):
            raise step
        return step


def job(fraction: float, state: JobState = JobState.running) -> Job:
    progress = Progress(fraction=fraction)
    return Job(id="explore-tiny-1", kind="explore", state=state, run="tiny-run-1", progress=progress)


def events(settings: Settings, store: Store, queue: FakeQueue, **headers: str) -> list[dict[str, str]]:
    """The events of the stream, each as its fields."""
    with TestClient(create_api(settings, store=store, queue=queue)) as client:  # type: ignore[arg-type]
        text = client.get("/v1/jobs/explore-tiny-1/events", headers=headers).text
    parts = [part.splitlines() for part in text.split("\n\n") if part]
    return [dict(line.split(": ", 1) for line in part if not line.startswith(":")) for part in parts]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.01)


def test_events_tell_each_change_once_and_end(settings: Settings, store: Store) -> None:
    down = QueueUnavailable("Redis is being restarted.")
    steps = (job(0.1), job(0.1), down, job(0.5), job(0.5), job(1.0, JobState.finished))
    found = events(settings, store, Moving(*steps), **{"Last-Event-ID": "4"})
    assert [one["event"] for one in found] == ["progress", "progress", "end"]
    assert [one["id"] for one in found] == ["5", "6", "7"]
    assert [Job.model_validate_json(one["data"]).progress.fraction for one in found] == [0.1, 0.5, 1.0]


def test_events_of_a_forgotten_job_close(settings: Settings, store: Store) -> None:
    found = events(settings, store, Moving(job(0.1), NotFound("It is gone.")))
    assert [one["event"] for one in found] == ["progress"]


@pytest.mark.parametrize("given", ["", "-1", "abc", "9" * 40])
def test_a_strange_last_event_id_is_no_error(settings: Settings, store: Store, given: str) -> None:
    found = events(settings, store, Moving(job(1.0, JobState.failed)), **{"Last-Event-ID": given})
    assert [one["id"] for one in found] == ["1"]


def test_a_page_of_another_site_can_change_nothing(settings: Settings, store: Store, run: str) -> None:
    outer = FastAPI()
    outer.mount("/api", create_api(settings, store=store, queue=FakeQueue()))  # type: ignore[arg-type]
    client = TestClient(guarded(outer, settings))
    foreign = {"Sec-Fetch-Site": "cross-site"}
    for method, path in (("POST", "/api/v1/runs"), ("DELETE", f"/api/v1/runs/{run}")):
        answer = client.request(method, path, headers=foreign)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
        assert "another site" in answer.json()["detail"]
    assert client.get("/api/v1/runs", headers=foreign).json()["total"] == 1
    own = {"Sec-Fetch-Site": "same-origin"}
    assert client.delete(f"/api/v1/runs/{run}", headers=own).status_code == 204


def test_the_lock_and_logs_of_an_instance_are_no_runs(api: TestClient, settings: Settings) -> None:
    for name in ("logs", "valkey"):
        (Path(settings.store) / name).mkdir(parents=True)
    (Path(settings.store) / ".lock").write_text("{}")
    assert api.get("/v1/runs").json()["total"] == 0
