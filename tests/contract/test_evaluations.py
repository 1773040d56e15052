"""Evaluations over the API, on runs whose models are headers without weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save_file

from app import catalog
from app.errors import QueueUnavailable
from app.queue import Work
from app.schemas.evaluation import PerplexityResult
from app.schemas.job import Job, JobState
from app.settings import Settings
from app.store import Store
from tests.contract.conftest import FakeQueue
from tests.contract.test_problems import check
from tests.contract.test_variants import NINE
from tests.unit.store import made
from tests.unit.store.test_variants import write

SHAPES = {
    "llama": {f"mlp.{name}_proj": (20, 8) if name != "down" else (8, 20) for name in ("gate", "up", "down")},
    "bert": {"intermediate.dense": (20, 8), "output.dense": (8, 20)},
}
PATHS = {"llama": "model.layers", "bert": "bert.encoder.layer"}
SMALL = {"tokens": 64, "window": 16}


def save_model(folder: Path, kind: str, **config: Any) -> None:
    """A checkpoint of zeros, one block, as far as the catalog looks into it."""
    folder.mkdir(parents=True)
    config = {"model_type": kind, "hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 32} | config
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 32, **config}))
    weights = {
        f"{PATHS[kind]}.0.{name}.weight": np.zeros(shape, np.float32) for name, shape in SHAPES[kind].items()
    }
    save_file(weights, folder / "model.safetensors")


@pytest.fixture
def make(settings: Settings, store: Store) -> Callable[..., str]:
    """Makes a finished run of a model in the model root."""

    def begin(kind: str = "llama", corpus: str = "python-docs", **config: Any) -> str:
        assert settings.model_root is not None
        save_model(settings.model_root / kind, kind, **config)
        source = f"path:{kind}"
        found = catalog.resolve(source, settings)
        model = made.model().model_copy(update={"source": source, "fingerprint": found.fingerprint})
        run = store.create_run(made.request(model=source, corpus=corpus), model, "Made up")
        store.write_tokens(run, made.tokens(), made.FACTS)
        for layer in range(made.BLOCKS):
            made.write_block(store, run, layer)
        store.finish(run, seconds=1.0)
        return run

    return begin


@pytest.fixture
def run(make: Callable[..., str]) -> str:
    return make()


@pytest.fixture
def pruning(store: Store, run: str) -> str:
    """A pruning with one layer done."""
    variant = store.variants.create(run, NINE)
    write(store, run, variant, 0, "gate_proj")
    return variant


def submit(api: TestClient, run: str, *variants: str, **values: Any) -> Any:
    return api.post(f"/v1/runs/{run}/evaluations", json={"variants": list(variants)} | SMALL | values)


def test_an_evaluation_is_queued_joined_and_answered_once_finished(
    api: TestClient, store: Store, run: str, pruning: str, queue: FakeQueue
) -> None:
    first = submit(api, run, pruning)
    assert first.status_code == 202, first.text
    told = first.json()
    job, evaluation = told["job"], told["evaluation"]
    assert first.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["subject"], evaluation["job"]) == ("evaluate", evaluation["id"], job["id"])
    assert job["title"] == "Perplexity: dense; SparseGPT 90 %"
    assert (evaluation["finished"], evaluation["results"]) == (False, [])
    assert submit(api, run, pruning).json()["job"]["id"] == job["id"]
    assert api.get(f"/v1/runs/{run}/evaluations").json()["items"] == [evaluation]
    check(api.delete(f"/v1/runs/{run}/evaluations/{evaluation['id']}"), 409, "conflict", job["id"])
    check(api.delete(f"/v1/runs/{run}/prunings/{pruning}"), 409, "conflict", job["id"])
    check(api.delete(f"/v1/runs/{run}"), 409, "conflict", job["id"])

    queue.jobs_by_id[job["id"]] = queue.jobs_by_id[job["id"]].model_copy(update={"state": JobState.finished})
    result = PerplexityResult(title="dense", perplexity=9.5, low=9, high=10, ffn_sparsity=0, layers=0)
    store.evaluations.finish(run, evaluation["id"], [result], tokens=60, windows=4, seconds=1.0)
    again = submit(api, run, pruning)
    assert (again.status_code, again.json()["job"]) == (200, None)
    assert again.json()["evaluation"]["results"][0]["perplexity"] == 9.5
    assert api.get(f"/v1/runs/{run}/evaluations/{evaluation['id']}").json() == again.json()["evaluation"]
    assert api.delete(f"/v1/runs/{run}/evaluations/{evaluation['id']}").status_code == 204
    assert api.get(f"/v1/runs/{run}/evaluations").json()["total"] == 0


def test_more_layers_make_another_evaluation(api: TestClient, store: Store, run: str, pruning: str) -> None:
    first = submit(api, run, pruning).json()["evaluation"]["id"]
    write(store, run, pruning, 1, "gate_proj")
    assert submit(api, run, pruning).json()["evaluation"]["id"] != first


def test_the_dense_model_alone_can_be_evaluated(api: TestClient, run: str) -> None:
    assert submit(api, run).json()["job"]["title"] == "Perplexity: dense"


def test_a_variant_without_layers_or_at_work_is_refused(
    api: TestClient, store: Store, run: str, pruning: str
) -> None:
    empty = store.variants.create(run, NINE.model_copy(update={"sparsity": 0.5}))
    check(submit(api, run, empty), 409, "conflict", "No layer")
    job = api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.9}).json()["job"]["id"]
    check(submit(api, run, pruning), 409, "conflict", job)
    check(submit(api, run, "p-0123456789ab"), 404, "not-found", "p-0123456789ab")
    assert api.get(f"/v1/runs/{run}/evaluations").json()["total"] == 0


@pytest.mark.parametrize(
    ("values", "status", "code", "word"),
    [
        ({"window": 33}, 422, "invalid-request", "longer than the context of llama, which is 32"),
        ({"tokens": 16, "window": 17}, 422, "invalid-request", "16 tokens do not fill one window of 17"),
        ({"tokens": 15}, 422, "invalid-request", "body.tokens"),
        ({"tokens": 10**9}, 422, "invalid-request", "may have at most"),
        ({"window": 7}, 422, "invalid-request", "body.window"),
        ({"variants": ["q-1"]}, 422, "invalid-request", "body.variants.0"),
        ({"variants": ["p-0123456789ab"] * 65}, 422, "invalid-request", "body.variants"),
        ({"corpus": "file:none.txt"}, 422, "corpus", "none.txt"),
        ({"corpus": "text:0123456789abcdef"}, 404, "not-found", "0123456789abcdef"),
        ({"corpus": "file:short.txt"}, 422, "corpus", "it cannot have the 64 tokens"),
        ({"windw": 16}, 422, "invalid-request", "body.windw"),
    ],
)
def test_bad_evaluations_are_refused_and_nothing_is_made(
    api: TestClient,
    settings: Settings,
    run: str,
    queue: FakeQueue,
    values: dict[str, Any],
    status: int,
    code: str,
    word: str,
) -> None:
    assert settings.corpus_root is not None
    (settings.corpus_root / "short.txt").write_text("forty bytes of text, no more and no less")
    check(submit(api, run, **values), status, code, word)
    assert api.get(f"/v1/runs/{run}/evaluations").json()["total"] == 0
    assert queue.jobs_by_id == {}


def test_text_that_surely_overlaps_the_runs_is_refused(
    api: TestClient, settings: Settings, make: Callable[..., str]
) -> None:
    assert settings.corpus_root is not None
    (settings.corpus_root / "text.txt").write_text("a" * 99)
    run = make(corpus="file:text.txt")
    check(submit(api, run), 422, "corpus", "overlap the 40 that the run has seen")
    assert submit(api, run, corpus="python-docs").status_code == 202


def test_encoders_have_no_perplexity(api: TestClient, make: Callable[..., str]) -> None:
    problem = check(submit(api, make("bert")), 422, "model", "is an encoder")
    assert "Pruning and expansion of it work" in problem.hint


def test_an_encoder_made_a_decoder_has_one(api: TestClient, make: Callable[..., str]) -> None:
    assert submit(api, make("bert", is_decoder=True)).status_code == 202


def test_a_model_that_is_gone_or_another_is_named(api: TestClient, settings: Settings, run: str) -> None:
    assert settings.model_root is not None
    config = settings.model_root / "llama" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rope_theta": 1.0}))
    check(submit(api, run), 422, "model", "not those the run was made for")
    config.unlink()
    check(submit(api, run), 404, "model-not-found", "config.json")


@pytest.mark.parametrize("middle", [False, True])
def test_redis_gone_is_503_and_nothing_is_listed(
    api: TestClient, run: str, queue: FakeQueue, middle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(work: Work) -> Job:
        raise QueueUnavailable("Redis does not answer.", hint="Start it.")

    if middle:
        monkeypatch.setattr(queue, "submit", broken)
    queue.down = not middle
    check(submit(api, run), 503, "queue-unavailable", "Redis")
    assert api.get(f"/v1/runs/{run}/evaluations").json()["total"] == 0
