"""Retry over the API, estimates of evaluations, and fields that a refusal is about."""

# ruff: noqa: F811  (fixtures of another file are arguments here)

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.schemas.job import JobState
from app.store import Store
from tests.contract.conftest import FakeQueue
from tests.contract.test_evaluations import make, pruning, run, submit  # noqa: F401  (fixtures)
from tests.contract.test_problems import check
from tests.contract.test_variants import NINE
from tests.unit.store.test_variants import write


def end(queue: FakeQueue, job: str, state: JobState) -> None:
    queue.jobs_by_id[job] = queue.jobs_by_id[job].model_copy(update={"state": state})


@pytest.mark.parametrize("state", [JobState.failed, JobState.cancelled])
def test_a_job_that_did_not_finish_is_tried_again_under_its_id(
    api: TestClient, run: str, queue: FakeQueue, state: JobState
) -> None:
    job = api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.5}).json()["job"]["id"]
    end(queue, job, state)
    answer = api.post(f"/v1/jobs/{job}/retry")
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{job}"
    assert (answer.json()["id"], answer.json()["state"]) == (job, "queued")


@pytest.mark.parametrize("state", [JobState.queued, JobState.running, JobState.finished])
def test_no_other_job_is_tried_again(api: TestClient, run: str, queue: FakeQueue, state: JobState) -> None:
    job = api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.5}).json()["job"]["id"]
    end(queue, job, state)
    check(api.post(f"/v1/jobs/{job}/retry"), 409, "conflict", str(state))


def test_what_was_deleted_is_not_tried_again(
    api: TestClient, store: Store, run: str, queue: FakeQueue
) -> None:
    made = api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.5}).json()
    end(queue, made["job"]["id"], JobState.failed)
    store.variants.delete(run, made["pruning"]["id"])
    check(api.post(f"/v1/jobs/{made['job']['id']}/retry"), 404, "not-found", made["pruning"]["id"])
    asked = submit(api, run).json()
    end(queue, asked["job"]["id"], JobState.cancelled)
    store.evaluations.delete(run, asked["evaluation"]["id"])
    check(api.post(f"/v1/jobs/{asked['job']['id']}/retry"), 404, "not-found", asked["evaluation"]["id"])
    assert all(job.state.final for job in queue.jobs_by_id.values())


def test_an_export_is_not_tried_again_while_its_layers_change(
    api: TestClient, run: str, pruning: str, queue: FakeQueue
) -> None:
    export = api.post(f"/v1/runs/{run}/prunings/{pruning}/export").json()["id"]
    end(queue, export, JobState.failed)
    other = api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.9}).json()["job"]["id"]
    check(api.post(f"/v1/jobs/{export}/retry"), 409, "conflict", other)
    end(queue, other, JobState.finished)
    assert api.post(f"/v1/jobs/{export}/retry").status_code == 202


def test_retry_of_what_is_not_there(api: TestClient, queue: FakeQueue) -> None:
    check(api.post("/v1/jobs/no-such-job/retry"), 404, "not-found", "no-such-job")
    check(api.post("/v1/jobs/UPPER/retry"), 422, "invalid-request", "path.job")
    queue.down = True
    check(api.post("/v1/jobs/no-such-job/retry"), 503, "queue-unavailable", "Redis")


def test_an_evaluation_is_estimated_before_it_is_queued(
    api: TestClient, store: Store, run: str, pruning: str, queue: FakeQueue
) -> None:
    def estimate(*variants: str, **values: Any) -> dict[str, Any]:
        body = {"variants": list(variants), "tokens": 64, "window": 16} | values
        answer = api.post(f"/v1/runs/{run}/evaluations/estimate", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    dense, both = estimate(), estimate(pruning)
    assert dense["tokens"] == 64
    assert both["seconds"] >= dense["seconds"]
    assert both["host_bytes"] > dense["host_bytes"]
    assert "no live worker" in dense["basis"]
    assert estimate(tokens=4096)["host_bytes"] > dense["host_bytes"]
    assert queue.jobs_by_id == {}
    assert store.evaluations.all(run) == []
    refused = {"tokens": 16, "window": 17}
    check(
        api.post(f"/v1/runs/{run}/evaluations/estimate", json=refused), 422, "invalid-request", "do not fill"
    )


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/runs", {"tokens": 10**12}, "body.tokens"),
        ("/runs", {"window": 100_000}, "body.window"),
        ("/runs", {"model": "path:nothing-here"}, "body.model"),
        ("/runs", {"model": "hub:acme/no-such-model"}, "body.model"),
        ("/runs", {"corpus": "file:none.txt"}, "body.corpus"),
        ("/runs", {"corpus": "text:0123456789abcdef"}, "body.corpus"),
        ("/runs", {"tokens": 3}, "body.tokens"),
        ("/models/inspect", {"model": "path:nothing-here"}, "body.model"),
        ("/models/inspect", {"model": "demo", "window": 10**6}, "body.window"),
        ("/runs/{run}/prunings", {"pattern": "2:5"}, "body.pattern"),
        ("/runs/{run}/prunings", {"propagate": True, "layers": [0]}, "body.propagate"),
        ("/runs/{run}/expansions", {"experts": 41}, "body.experts"),
        ("/runs/{run}/expansions", {"reduction": 9}, "body.reduction"),
        ("/runs/{run}/evaluations", {"tokens": 16, "window": 17}, "body.window"),
        ("/runs/{run}/evaluations", {"tokens": 10**9}, "body.tokens"),
        ("/runs/{run}/evaluations", {"corpus": "file:none.txt", "window": 16}, "body.corpus"),
        ("/runs/{run}/evaluations", {"window": 7}, "body.window"),
    ],
)
def test_a_refusal_names_its_field(
    api: TestClient, run: str, path: str, body: dict[str, Any], field: str
) -> None:
    answer = api.post(f"/v1{path.format(run=run)}", json=body)
    assert 400 <= answer.status_code < 503, answer.text
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert len(error["message"]) > 10


def test_a_refusal_about_a_variant_names_the_field(api: TestClient, store: Store, run: str) -> None:
    empty = store.variants.create(run, NINE.model_copy(update={"sparsity": 0.5}))
    [error] = submit(api, run, empty).json()["errors"]
    assert error["field"] == "body.variants"
    write(store, run, empty, 0, "gate_proj")
    assert submit(api, run, empty).status_code == 202


def test_a_conflict_is_about_no_field(api: TestClient, run: str, pruning: str) -> None:
    api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.9})
    answer = api.delete(f"/v1/runs/{run}/prunings/{pruning}")
    assert (answer.status_code, answer.json()["errors"]) == (409, [])
