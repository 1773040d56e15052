"""Prunings and expansions over the API: submitted, joined, dealt to workers, listed, exported, deleted."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.errors import QueueUnavailable
from app.main import create_api
from app.queue import Work
from app.schemas.expansion import ExpansionSettings
from app.schemas.health import WorkerInfo
from app.schemas.job import Job, JobState
from app.schemas.pruning import PruningSettings
from app.settings import Settings
from app.store import Store, keys
from tests.contract.conftest import FakeQueue
from tests.contract.test_problems import check
from tests.unit.store.made import make_run
from tests.unit.store.test_variants import write

NINE = PruningSettings(sparsity=0.9)
LAYERS = [(layer, name) for layer in range(3) for name in ("gate_proj", "down_proj")]


class Recording(FakeQueue):
    """Keeps the work it is given; has as many workers as it is told."""

    def __init__(self, workers: int = 0) -> None:
        super().__init__()
        self.works: list[Work] = []
        self.live = workers

    def submit(self, work: Work) -> Job:
        self.works.append(work)
        return super().submit(work)

    def workers(self) -> list[Any]:
        self.require()
        return [WorkerInfo(name=f"w{i}", state="idle", device="cpu", gflops=100.0) for i in range(self.live)]

    def end(self, state: JobState = JobState.finished) -> None:
        """End all jobs."""
        for name, job in self.jobs_by_id.items():
            self.jobs_by_id[name] = job.model_copy(update={"state": state})


@pytest.fixture
def queue() -> Recording:
    return Recording()


@pytest.fixture(params=["prunings", "expansions"])
def noun(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings_of(noun: str) -> dict[str, Any]:
    return {"sparsity": 0.9} if noun == "prunings" else {"sparsity": 0.9, "experts": 3, "reduction": 4}


def variant_of(store: Store, run: str, noun: str) -> str:
    """A variant with the settings of `settings_of`."""
    values = settings_of(noun)
    return store.variants.create(run, NINE if noun == "prunings" else ExpansionSettings(**values))


def test_work_is_answered_with_its_job_and_what_it_takes(
    api: TestClient, run: str, queue: Recording, noun: str
) -> None:
    answer = api.post(f"/v1/runs/{run}/{noun}", json=settings_of(noun))
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{told['job']['id']}"
    made = told[noun.removesuffix("s")]
    assert (told["job"]["subject"], told["job"]["run"]) == (made["id"], run)
    assert (made["job"], made["layers"], made["layers_total"]) == (told["job"]["id"], [], 6)
    assert told["estimate"]["tokens"] == 40
    assert told["estimate"]["store_bytes"] > 0
    assert api.get(f"/v1/runs/{run}/{noun}").json()["items"] == [made]
    assert api.get(f"/v1/runs/{run}/{noun}/{made['id']}").json() == made
    assert queue.works[0].kind == {"prunings": "prune", "expansions": "expand"}[noun]


def test_the_same_asked_for_twice_is_one_job(api: TestClient, run: str, store: Store, noun: str) -> None:
    body = settings_of(noun) | {"layers": [1]}
    first = api.post(f"/v1/runs/{run}/{noun}", json=body).json()
    variant = first[noun.removesuffix("s")]["id"]
    write(store, run, variant, 1, "gate_proj")  # half of it is done: still the same job
    again = api.post(f"/v1/runs/{run}/{noun}", json=body)
    assert again.status_code == 202
    assert again.json()["job"]["id"] == first["job"]["id"]
    assert api.get("/v1/jobs").json()["total"] == 1


def test_other_layers_of_the_same_settings_are_another_job_on_the_same_variant(
    api: TestClient, run: str
) -> None:
    bodies = [{"layers": [0]}, {"layers": [1]}, {"layers": [1], "projections": ["gate_proj"]}, {}]
    told = [api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.9} | body).json() for body in bodies]
    assert len({one["pruning"]["id"] for one in told}) == 1
    assert len({one["job"]["id"] for one in told}) == len(bodies)
    assert told[-1]["job"]["id"] == f"prune-{run}-{told[-1]['pruning']['id']}"


def test_every_layer_named_is_the_same_job_as_none(api: TestClient, run: str) -> None:
    everything = {"sparsity": 0.9, "layers": [2, 0, 1, 1], "projections": ["down_proj", "gate_proj"]}
    first = api.post(f"/v1/runs/{run}/prunings", json=everything).json()["job"]["id"]
    assert api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.9}).json()["job"]["id"] == first


def test_what_is_done_is_answered_at_once_even_without_redis(
    api: TestClient, run: str, store: Store, queue: Recording, noun: str
) -> None:
    variant = variant_of(store, run, noun)
    write(store, run, variant, 1, "gate_proj")
    queue.down = True
    body = settings_of(noun) | {"layers": [1], "projections": ["gate_proj"]}
    answer = api.post(f"/v1/runs/{run}/{noun}", json=body)
    assert (answer.status_code, answer.json()["job"]) == (200, None)
    assert "location" not in answer.headers
    assert answer.json()["estimate"]["seconds"] == answer.json()["estimate"]["store_bytes"] == 0
    assert len(answer.json()[noun.removesuffix("s")]["layers"]) == 1


@pytest.mark.parametrize(
    ("workers", "parts"),
    [
        (0, [{"0": 2, "1": 2, "2": 2}]),
        (1, [{"0": 2, "1": 2, "2": 2}]),
        (2, [{"0": 2, "2": 2}, {"1": 2}]),
        (9, [{"0": 2}, {"1": 2}, {"2": 2}]),
    ],
)
def test_blocks_are_dealt_to_the_live_workers(
    api: TestClient, run: str, queue: Recording, workers: int, parts: list[dict[str, int]]
) -> None:
    queue.live = workers
    told = api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.9}).json()
    [work] = queue.works
    assert [{block: len(names) for block, names in part[2].items()} for part in work.parts] == parts
    assert {part[:2] for part in work.parts} == {(run, told["pruning"]["id"])}
    assert told["job"]["parts"] == len(parts)


def test_only_what_is_missing_is_dealt(
    api: TestClient, run: str, store: Store, queue: Recording, noun: str
) -> None:
    variant = variant_of(store, run, noun)
    for layer, name in LAYERS[:3]:
        write(store, run, variant, layer, name)
    queue.live = 4
    api.post(f"/v1/runs/{run}/{noun}", json=settings_of(noun))
    assert [part[2] for part in queue.works[0].parts] == [
        {"1": ["down_proj"]},
        {"2": ["gate_proj", "down_proj"]},
    ]


def test_a_whole_model_in_sequence_is_one_part(
    api: TestClient, run: str, queue: Recording, noun: str
) -> None:
    queue.live = 4
    told = api.post(f"/v1/runs/{run}/{noun}", json=settings_of(noun) | {"propagate": True}).json()
    assert queue.works[0].parts == ((run, told[noun.removesuffix("s")]["id"], None),)
    assert queue.works[0].key == ""
    assert "propagated: blocks 0-2" in told["job"]["title"]


@pytest.mark.parametrize(
    ("body", "title"),
    [
        ({"layers": [1], "projections": ["gate_proj"]}, "SparseGPT 90 %: block 1 gate_proj"),
        ({"layers": [0, 2]}, "SparseGPT 90 %: blocks 0, 2"),
        ({}, "SparseGPT 90 %: blocks 0-2"),
        ({"projections": ["down_proj"]}, "SparseGPT 90 %: blocks 0-2 down_proj"),
    ],
)
def test_a_job_says_what_it_does(api: TestClient, run: str, body: dict[str, Any], title: str) -> None:
    told = api.post(f"/v1/runs/{run}/prunings", json={"sparsity": 0.9} | body).json()
    assert told["job"]["title"] == title


def test_an_estimate_writes_and_queues_nothing(
    api: TestClient, run: str, queue: Recording, noun: str
) -> None:
    queue.live = 2
    whole = api.post(f"/v1/runs/{run}/{noun}/estimate", json=settings_of(noun)).json()
    part = api.post(f"/v1/runs/{run}/{noun}/estimate", json=settings_of(noun) | {"layers": [0]}).json()
    assert part["store_bytes"] * 3 == pytest.approx(whole["store_bytes"], abs=3)
    assert whole["basis"] == "measured: 100 GFLOP/s on cpu; 2 workers"
    assert api.get(f"/v1/runs/{run}/{noun}").json()["total"] == 0
    assert queue.works == []


def test_redis_gone_is_503_and_nothing_is_listed(
    api: TestClient, run: str, queue: Recording, noun: str
) -> None:
    queue.down = True
    check(api.post(f"/v1/runs/{run}/{noun}", json=settings_of(noun)), 503, "queue-unavailable", "Redis")
    assert api.get(f"/v1/runs/{run}/{noun}").json()["total"] == 0


@pytest.mark.parametrize("known", [False, True])
def test_redis_gone_in_the_middle_leaves_only_what_was_there(
    api: TestClient,
    run: str,
    store: Store,
    queue: Recording,
    noun: str,
    known: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if known:
        variant_of(store, run, noun)

    def broken(work: Work) -> Job:
        raise QueueUnavailable("Redis does not answer.", hint="Start it.")

    monkeypatch.setattr(queue, "submit", broken)
    check(api.post(f"/v1/runs/{run}/{noun}", json=settings_of(noun)), 503, "queue-unavailable", "Redis")
    assert api.get(f"/v1/runs/{run}/{noun}").json()["total"] == known


def test_the_job_is_the_one_at_work_else_the_last(
    api: TestClient, run: str, queue: Recording, noun: str
) -> None:
    def shown() -> set[str | None]:
        listed = api.get(f"/v1/runs/{run}/{noun}").json()["items"]
        one = api.get(f"/v1/runs/{run}/{noun}/{listed[0]['id']}").json()
        return {one["job"], *(item["job"] for item in listed)}

    first = api.post(f"/v1/runs/{run}/{noun}", json=settings_of(noun) | {"layers": [0]}).json()["job"]["id"]
    second = api.post(f"/v1/runs/{run}/{noun}", json=settings_of(noun) | {"layers": [1]}).json()["job"]["id"]
    assert shown() == {second}
    queue.jobs_by_id[second] = queue.jobs_by_id[second].model_copy(update={"state": JobState.finished})
    assert shown() == {first}
    queue.end()
    assert shown() == {second}
    queue.down = True
    assert shown() == {None}


def test_a_variant_at_work_is_not_deleted(api: TestClient, run: str, queue: Recording, noun: str) -> None:
    told = api.post(f"/v1/runs/{run}/{noun}", json=settings_of(noun)).json()
    variant = told[noun.removesuffix("s")]["id"]
    check(api.delete(f"/v1/runs/{run}/{noun}/{variant}"), 409, "conflict", told["job"]["id"])
    check(api.delete(f"/v1/runs/{run}"), 409, "conflict", told["job"]["id"])
    queue.down = True
    check(api.delete(f"/v1/runs/{run}/{noun}/{variant}"), 503, "queue-unavailable", "Redis")
    check(api.delete(f"/v1/runs/{run}"), 503, "queue-unavailable", "Redis")
    queue.down = False
    queue.end(JobState.cancelled)
    assert api.delete(f"/v1/runs/{run}/{noun}/{variant}").status_code == 204
    check(api.get(f"/v1/runs/{run}/{noun}/{variant}"), 404, "not-found", variant)
    assert api.delete(f"/v1/runs/{run}").status_code == 204


def test_a_finished_run_from_which_nothing_was_made_needs_no_redis_to_be_deleted(
    api: TestClient, run: str, queue: Recording
) -> None:
    queue.down = True
    assert api.delete(f"/v1/runs/{run}").status_code == 204


def test_an_export_is_a_job_of_its_own(
    api: TestClient, run: str, store: Store, queue: Recording, noun: str
) -> None:
    variant = variant_of(store, run, noun)
    address = f"/v1/runs/{run}/{noun}/{variant}/export"
    check(api.post(address), 409, "conflict", "No layer")
    write(store, run, variant, 0, "gate_proj")
    at_work = api.post(f"/v1/runs/{run}/{noun}", json=settings_of(noun)).json()["job"]["id"]
    check(api.post(address), 409, "conflict", at_work)
    queue.end()
    answer = api.post(address)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["subject"]) == ("export", variant)
    assert queue.works[-1].parts == ((run, variant),)
    assert api.post(address).json()["id"] == job["id"]
    check(api.delete(f"/v1/runs/{run}/{noun}/{variant}"), 409, "conflict", job["id"])


def test_exports_need_a_local_store() -> None:
    store = Store("memory://exports")
    made = make_run(store)
    variant = store.variants.create(made, NINE)
    settings = Settings(store="memory://exports")
    api = TestClient(create_api(settings, store=store, queue=Recording()))  # type: ignore[arg-type]
    check(api.post(f"/v1/runs/{made}/prunings/{variant}/export"), 409, "conflict", "WASSERSCOPE_STORE")


def test_effects_are_read_by_layer_map_and_neuron(api: TestClient, run: str, store: Store) -> None:
    pruning, expansion = variant_of(store, run, "prunings"), variant_of(store, run, "expansions")
    write(store, run, pruning, 1, "gate_proj", scale=4.0)
    write(store, run, expansion, 1, "gate_proj", scale=2.0)
    named = {"pruning": pruning, "expansion": expansion}
    layer = api.get(
        f"/v1/runs/{run}/layers/1/gate_proj", params={**named, "metrics": ["ri", "pruned_rmse"]}
    ).json()
    assert layer["metrics"]["ri"][5] == 2.0
    assert layer["metrics"]["pruned_rmse"][5] == 20.0
    assert api.get(f"/v1/runs/{run}/map", params={**named, "metric": "ri"}).json()["maximum"] == 2.0
    rows = api.get(f"/v1/runs/{run}/neurons", params={**named, "sort": "-pruned_rmse"}).json()["items"]
    assert rows[0]["effects"]["expanded_rmse"] == 2.0 * rows[0]["index"]
    one = api.get(f"/v1/runs/{run}/layers/1/gate_proj/neurons/5/distributions", params=named).json()
    assert (one["ri"], one["pruning"]["rmse"], one["expansion"]["rmse"]) == (2.0, 20.0, 10.0)
    assert len(one["dense"]) == len(one["pruning"]["counts"]) == 192
    dense = api.get(f"/v1/runs/{run}/layers/1/gate_proj/neurons/5/distributions").json()
    assert (dense["dense"], dense["pruning"], dense["expansion"]) == (one["dense"], None, None)
    experts = api.get(f"/v1/runs/{run}/expansions/{expansion}/layers/1/gate_proj/experts").json()
    assert [item["expert"] for item in experts["items"]] == [0, 1, 2]
    assert experts["total"] == 3


def test_what_is_made_from_a_run_grows_and_has_no_etag(api: TestClient, run: str, store: Store) -> None:
    pruning = variant_of(store, run, "prunings")
    write(store, run, pruning, 1, "gate_proj")
    growing = [
        "prunings",
        f"prunings/{pruning}",
        "expansions",
        "evaluations",
        f"layers/1/gate_proj?metrics=pruned_w1&pruning={pruning}",
        f"map?metric=pruned_w1&pruning={pruning}",
        f"neurons?pruning={pruning}",
        f"layers/1/gate_proj/neurons/5/distributions?pruning={pruning}",
    ]
    for path in growing:
        answer = api.get(f"/v1/runs/{run}/{path}", headers={"If-None-Match": "*"})
        assert (answer.status_code, "etag" in answer.headers) == (200, False), path
    assert "etag" in api.get(f"/v1/runs/{run}/layers/1/gate_proj/neurons/5/distributions").headers
    before = api.get(f"/v1/runs/{run}/map?metric=pruned_w1&pruning={pruning}").json()
    write(store, run, pruning, 2, "gate_proj", scale=9.0)
    assert api.get(f"/v1/runs/{run}/map?metric=pruned_w1&pruning={pruning}").json() != before


def test_stored_inputs_are_needed_only_where_they_are_used(api: TestClient, run: str, store: Store) -> None:
    store.files.delete(keys.block(run, 1, "inputs.safetensors"))
    address = f"/v1/runs/{run}/prunings"
    check(api.post(address, json={"layers": [0, 1]}), 409, "conflict", "block 1 of run")
    assert api.post(address, json={"layers": [0, 2]}).status_code == 202
    check(api.post(address, json={"propagate": True}), 409, "conflict", "Delete the run")
    assert api.post(address, json={"propagate": True, "compare": False}).status_code == 202
