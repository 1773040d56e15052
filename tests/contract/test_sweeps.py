"""Sweeps over the API: submitted, joined, finished, read by neuron, refused, deleted."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.errors import QueueUnavailable
from app.queue import Work
from app.schemas.job import Job, JobState
from app.store import Store, keys
from tests.contract.conftest import FakeQueue
from tests.contract.test_problems import check
from tests.unit.store.test_sweeps import REQUEST, write

BODY = REQUEST.model_dump(mode="json")


def test_a_sweep_is_one_job_of_the_whole_layer(api: TestClient, run: str, queue: FakeQueue) -> None:
    answer = api.post(f"/v1/runs/{run}/sweeps", json=BODY)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{told['job']['id']}"
    assert (told["job"]["kind"], told["job"]["subject"], told["job"]["parts"]) == (
        "sweep",
        told["sweep"]["id"],
        1,
    )
    assert (told["sweep"]["done"], told["sweep"]["finished"], len(told["sweep"]["points"])) == (0, False, 5)
    assert told["estimate"]["store_bytes"] > 0
    again = api.post(
        f"/v1/runs/{run}/sweeps", json=BODY | {"sparsities": [0.9, 0.5], "expert_counts": [2, 1]}
    )
    assert again.json()["job"]["id"] == told["job"]["id"]
    assert api.get(f"/v1/runs/{run}/sweeps").json()["items"] == [told["sweep"]]
    assert api.get(f"/v1/runs/{run}/sweeps?layer=1&projection=gate_proj").json()["total"] == 1
    assert api.get(f"/v1/runs/{run}/sweeps?layer=2").json()["total"] == 0
    assert api.get(f"/v1/runs/{run}/sweeps/{told['sweep']['id']}").json() == told["sweep"]
    assert api.get(f"/v1/jobs?kind=sweep&subject={told['sweep']['id']}").json()["total"] == 1
    assert api.delete(f"/v1/runs/{run}").status_code == 409


def test_a_finished_sweep_is_answered_at_once_even_without_redis(
    api: TestClient, run: str, store: Store, queue: FakeQueue
) -> None:
    sweep = write(store, run)
    queue.down = True
    answer = api.post(f"/v1/runs/{run}/sweeps", json=BODY)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["job"], told["estimate"]["seconds"], told["sweep"]["finished"]) == (None, 0, True)
    address = f"/v1/runs/{run}/layers/1/gate_proj/neurons/3/sweep"
    found = api.get(address, params={"sweep": sweep})
    assert found.status_code == 200
    assert "etag" not in found.headers  # a sweep can be deleted and made again
    assert [point["rmse"] for point in found.json()["points"]] == pytest.approx([4, 2, 4 / 3, 1, 0.8])
    assert found.json()["tokens"] == sum(found.json()["dense"])


def test_the_estimate_is_of_what_is_missing(api: TestClient, run: str, store: Store) -> None:
    address = f"/v1/runs/{run}/sweeps/estimate"
    whole = api.post(address, json=BODY).json()
    write(store, run, points=3)
    rest = api.post(address, json=BODY).json()
    assert 0 < rest["store_bytes"] < whole["store_bytes"]
    assert api.get("/v1/jobs").json()["total"] == 0


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"layer": 3}, 404, "no block 3"),
        ({"projection": "up_proj"}, 404, "no projection 'up_proj'"),
        ({"layer": -1}, 422, "greater than or equal to 0"),
        ({"sparsities": [2]}, 422, "less than or equal to 1"),
        ({"sparsities": []}, 422, "at least 1"),
        ({"at": 0.2}, 422, "not one of the sparsities"),
        ({"patterns": ["2:5"]}, 422, "groups of 5"),
        ({"patterns": ["4:2"]}, 422, "is no pattern"),
        ({"experts": 41}, 422, "41 experts"),
        ({"reduction": 9}, 422, "reduction by 9"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(
    api: TestClient, run: str, change: dict[str, Any], status: int, words: str
) -> None:
    for address in (f"/v1/runs/{run}/sweeps", f"/v1/runs/{run}/sweeps/estimate"):
        answer = api.post(address, json=BODY | change)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert words in answer.text
    assert api.get(f"/v1/runs/{run}/sweeps").json()["total"] == 0
    assert api.get("/v1/jobs").json()["total"] == 0


def test_deleted_inputs_are_said(api: TestClient, run: str, store: Store) -> None:
    store.files.delete(keys.block(run, 1, "inputs.safetensors"))
    assert "stored inputs of block 1" in api.post(f"/v1/runs/{run}/sweeps", json=BODY).json()["detail"]


def test_reading_what_is_not_there(api: TestClient, run: str, store: Store) -> None:
    address = f"/v1/runs/{run}/layers/1/gate_proj/neurons"
    check(
        api.get(f"{address}/3/sweep", params={"sweep": "s-000000000000"}), 404, "not-found", "s-000000000000"
    )
    check(api.get(f"{address}/3/sweep", params={"sweep": "nonsense"}), 422, "invalid-request", "query.sweep")
    check(api.get(f"{address}/3/sweep"), 422, "invalid-request", "query.sweep")
    check(api.get(f"/v1/runs/{run}/sweeps/s-000000000000"), 404, "not-found", "s-000000000000")
    sweep = write(store, run, points=1)
    check(api.get(f"{address}/3/sweep", params={"sweep": sweep}), 409, "conflict", "1 of 5 points")
    sweep = write(store, run)
    check(api.get(f"{address}/70/sweep", params={"sweep": sweep}), 404, "not-found", "70")
    other = api.get(f"/v1/runs/{run}/layers/2/gate_proj/neurons/3/sweep", params={"sweep": sweep})
    check(other, 409, "conflict", "gate_proj of block 1")


def test_a_sweep_at_work_is_not_deleted(api: TestClient, run: str, queue: FakeQueue) -> None:
    told = api.post(f"/v1/runs/{run}/sweeps", json=BODY).json()
    address = f"/v1/runs/{run}/sweeps/{told['sweep']['id']}"
    check(api.delete(address), 409, "conflict", "cancel first")
    name = told["job"]["id"]
    queue.jobs_by_id[name] = queue.jobs_by_id[name].model_copy(update={"state": JobState.finished})
    assert api.delete(address).status_code == 204
    check(api.get(address), 404, "not-found", "no sweep")
    check(api.delete(address), 404, "not-found", "no sweep")


class Failing(FakeQueue):
    """Answers, but takes no work."""

    def submit(self, work: Work) -> Job:
        raise QueueUnavailable("Redis went away.", hint="Start it.")


@pytest.mark.parametrize("kind", [FakeQueue, Failing])
def test_a_sweep_that_cannot_be_queued_is_not_listed(
    api: TestClient, run: str, kind: type[FakeQueue]
) -> None:
    queue = kind()
    queue.down = kind is FakeQueue
    api.app.state.service.queue = queue  # type: ignore[attr-defined]
    check(api.post(f"/v1/runs/{run}/sweeps", json=BODY), 503, "queue-unavailable", "Redis")
    assert api.get(f"/v1/runs/{run}/sweeps").json()["total"] == 0
