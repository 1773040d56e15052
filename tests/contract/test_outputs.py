"""A layer's stored outputs over the API: asked for, joined, read, deleted; everything that is refused."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.client import AsyncClient
from app.errors import Conflict, QueueUnavailable
from app.queue import Work
from app.schemas.job import Job, JobState
from app.schemas.outputs import NeuronOutputs, NeuronPairs, WdInterval
from app.store import Store, keys
from tests.contract.conftest import FakeQueue
from tests.contract.test_problems import check
from tests.unit.store import made
from tests.unit.store.test_outputs import WIDTH, matrix, write
from tests.unit.store.test_variants import EXPERTS
from tests.unit.store.test_variants import write as write_variant

LAYER = "layers/1/gate_proj"


@pytest.fixture
def path(run: str) -> str:
    return f"/v1/runs/{run}/{LAYER}"


def end(queue: FakeQueue, job: str, state: JobState = JobState.finished) -> None:
    queue.jobs_by_id[job] = queue.jobs_by_id[job].model_copy(update={"state": state})


def test_outputs_are_asked_for_joined_and_answered_once_there(
    api: TestClient, store: Store, run: str, path: str, queue: FakeQueue
) -> None:
    before = api.get(f"{path}/outputs").json()
    assert (before["stored"], before["size_bytes"], before["job"]) == (False, 4 * WIDTH * made.TOKENS, None)
    first = api.post(f"{path}/outputs")
    assert first.status_code == 202, first.text
    job = first.json()["job"]
    assert first.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["run"], job["subject"]) == ("outputs", run, None)
    assert job["title"] == "Store the outputs of block 1 gate_proj"
    assert api.post(f"{path}/outputs").json()["job"]["id"] == job["id"]
    assert api.get("/v1/jobs?kind=outputs").json()["total"] == 1
    assert api.get(f"{path}/outputs").json()["job"]["id"] == job["id"]
    assert api.get(f"/v1/runs/{run}/outputs").json()["total"] == 0
    other = api.post(f"/v1/runs/{run}/layers/1/down_proj/outputs").json()["job"]["id"]
    assert other != job["id"]
    check(api.delete(f"{path}/outputs"), 409, "conflict", job["id"])
    check(api.delete(f"/v1/runs/{run}"), 409, "conflict", "outputs-")

    end(queue, job["id"])
    write(store, run)
    again = api.post(f"{path}/outputs")
    assert (again.status_code, again.json()["job"]) == (200, None)
    assert again.json()["outputs"]["stored"]
    assert [one["projection"] for one in api.get(f"/v1/runs/{run}/outputs").json()["items"]] == ["gate_proj"]
    assert api.delete(f"{path}/outputs").status_code == 204
    assert api.get(f"{path}/outputs").json()["stored"] is False
    check(api.delete(f"{path}/outputs"), 404, "not-found", "are not stored")
    check(api.get(f"{path}/neurons/3/tokens"), 409, "conflict", f"POST /api{path}/outputs")


def test_tokens_pairs_and_interval_are_answered(api: TestClient, store: Store, run: str, path: str) -> None:
    write(store, run)
    row = matrix()[3]
    answer = api.get(f"{path}/neurons/3/tokens?low=0.5&sort=value&limit=4")
    found = NeuronOutputs.model_validate(answer.json())
    assert found.total == int((row >= 0.5).sum())
    assert [token.value for token in found.items] == np.sort(row[row >= 0.5])[:4].tolist()
    assert (found.tokens, found.expert_tokens, found.items[0].expert) == (made.TOKENS, {}, None)
    assert "etag" not in answer.headers

    pairs = NeuronPairs.model_validate(api.get(f"{path}/neurons/3/pairs?points=6&hardest=2").json())
    assert (len(pairs.input_distances), len(pairs.hardest), pairs.pairs) == (6, 2, 19)
    interval = WdInterval.model_validate(api.get(f"{path}/neurons/3/wd-interval?confidence=0.9").json())
    assert interval.wd == store.neuron(run, 1, "gate_proj", 3).wd
    assert (interval.windows, interval.confidence, interval.resamples) == (3, 0.9, 1000)
    assert "whole windows" in interval.method
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low <= interval.high


def test_experts_of_the_tokens_where_an_expansion_is_named(
    api: TestClient, store: Store, run: str, path: str
) -> None:
    write(store, run)
    expansion = store.variants.create(run, EXPERTS)
    where = f"{path}/neurons/3/tokens?expansion="
    check(api.get(where + "x-0123456789ab"), 404, "not-found", "x-0123456789ab")
    check(api.get(where + expansion), 409, "conflict", "has not done gate_proj of block 1")
    write_variant(store, run, expansion, 1, "gate_proj")
    found = NeuronOutputs.model_validate(api.get(where + expansion).json())
    labels = store.effects.labels(run, expansion, 1, "gate_proj")
    assert [token.expert for token in found.items] == [labels[token.position] for token in found.items]
    assert sum(found.expert_tokens.values()) == made.TOKENS
    hard = api.get(f"{path}/neurons/3/pairs?expansion={expansion}").json()["hardest"][0]
    assert hard["first"]["expert"] == labels[hard["first"]["position"]]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("tokens?low=2&high=1", "above high"),
        ("tokens?low=1&from_quantile=0.5", "not both"),
        ("tokens?from_quantile=0.9&to_quantile=0.1", "above to_quantile"),
        ("tokens?to_quantile=1.5", "query.to_quantile"),
        ("tokens?low=nan", "query.low"),
        ("tokens?low=x", "query.low"),
        ("tokens?sort=up", "query.sort"),
        ("tokens?expansion=p-0123456789ab", "query.expansion"),
        ("tokens?limit=1001", "at most 1000"),
        ("tokens?limit=-1", "query.limit"),
        ("tokens?seed=-1", "query.seed"),
        ("tokens?hihg=1", "query.hihg"),
        ("pairs?points=5001", "query.points"),
        ("pairs?hardest=51", "query.hardest"),
        ("wd-interval?confidence=1", "query.confidence"),
        ("wd-interval?resamples=10001", "query.resamples"),
        ("wd-interval?resamples=99", "query.resamples"),
    ],
)
def test_bad_questions_are_refused(
    api: TestClient, store: Store, run: str, path: str, query: str, word: str
) -> None:
    write(store, run)
    check(api.get(f"{path}/neurons/3/{query}"), 422, "invalid-request", word)


@pytest.mark.parametrize("place", ["layers/9/gate_proj", "layers/1/no_proj"])
def test_layers_and_neurons_that_are_not_there(api: TestClient, store: Store, run: str, place: str) -> None:
    write(store, run)
    for method in ("GET", "POST", "DELETE"):
        check(api.request(method, f"/v1/runs/{run}/{place}/outputs"), 404, "not-found", place.split("/")[1])
    for what in ("tokens", "pairs", "wd-interval"):
        check(api.get(f"/v1/runs/{run}/{place}/neurons/0/{what}"), 404, "not-found", "Blocks go from 0")
        check(api.get(f"/v1/runs/{run}/{LAYER}/neurons/70/{what}"), 404, "not-found", "no neuron 70")


def test_a_run_under_way_and_inputs_that_are_gone_are_refused(
    api: TestClient, store: Store, run: str, path: str, queue: FakeQueue
) -> None:
    store.files.delete(keys.block(run, 1, "inputs.safetensors"))
    check(api.post(f"{path}/outputs"), 409, "conflict", "stored inputs of block 1")
    store.delete_run(run)
    unfinished = made.make_run(store, blocks=2)
    check(api.post(f"/v1/runs/{unfinished}/{LAYER}/outputs"), 409, "conflict", "not finished")
    assert queue.jobs_by_id == {}


@pytest.mark.parametrize("middle", [False, True])
def test_redis_gone_is_503_and_nothing_is_left(
    api: TestClient,
    store: Store,
    run: str,
    path: str,
    queue: FakeQueue,
    middle: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(work: Work) -> Job:
        raise QueueUnavailable("Redis does not answer.", hint="Start it.")

    if middle:
        monkeypatch.setattr(queue, "submit", broken)
    queue.down = not middle
    check(api.post(f"{path}/outputs"), 503, "queue-unavailable", "Redis")
    assert store.outputs.asked(run) == []
    assert api.get(f"{path}/outputs").json()["job"] is None  # read without the queue
    write(store, run)
    queue.down = True
    assert api.get(f"{path}/neurons/3/tokens").status_code == 200
    check(api.delete(f"{path}/outputs"), 503, "queue-unavailable", "Redis")


def test_a_deleted_run_takes_its_outputs_along(
    api: TestClient, store: Store, run: str, path: str, queue: FakeQueue
) -> None:
    write(store, run)
    api.get(f"{path}/neurons/3/wd-interval")
    assert api.delete(f"/v1/runs/{run}").status_code == 204
    made.make_run(store)
    check(api.get(f"{path}/neurons/3/wd-interval"), 409, "conflict", "are not stored")


def test_the_client_asks_the_same(api: TestClient, store: Store, run: str) -> None:
    outer = FastAPI()
    outer.mount("/api", api.app)

    async def ask() -> None:
        client = AsyncClient("http://test", transport=httpx.ASGITransport(app=outer))
        submitted = await client.store_outputs(run, 1, "gate_proj")
        assert submitted.job is not None
        assert submitted.job.kind == "outputs"
        with pytest.raises(Conflict, match="not stored"):
            await client.pairs(run, 1, "gate_proj", 3)
        write(store, run)
        assert (await client.outputs(run, 1, "gate_proj")).stored
        assert (await client.stored_outputs(run)).total == 1
        found = await client.tokens(run, 1, "gate_proj", 3, low=0.5)
        assert found.total == int((matrix()[3] >= 0.5).sum())
        assert (await client.pairs(run, 1, "gate_proj", 3)).pairs == 19
        assert (await client.wd_interval(run, 1, "gate_proj", 3, resamples=100)).resamples == 100
        await client.close()

    asyncio.run(ask())
