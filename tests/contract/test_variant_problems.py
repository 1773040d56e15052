"""What is refused of prunings, expansions and their effects: each with a message that says what to do."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.store import Store
from tests.contract.conftest import FakeQueue
from tests.contract.test_problems import check
from tests.contract.test_variants import variant_of
from tests.unit.store.made import make_run
from tests.unit.store.test_variants import write

SHARED: list[tuple[dict[str, Any], int, str, list[str]]] = [
    ({"sparsity": 1.5}, 422, "invalid-request", ["body.sparsity", "less than or equal to 1"]),
    ({"sparsity": -0.1}, 422, "invalid-request", ["body.sparsity", "greater than or equal to 0"]),
    ({"sparsity": "most"}, 422, "invalid-request", ["body.sparsity", "valid number"]),
    ({"pattern": "2-4"}, 422, "invalid-request", ["body.pattern"]),
    ({"pattern": "5:4"}, 422, "invalid-request", ["N:M means N zeros in each M weights"]),
    ({"pattern": "0:0"}, 422, "invalid-request", ["N at most M"]),
    ({"pattern": "2:5"}, 422, "invalid-request", ["gate_proj", "8 weights", "groups of 5", "divides 8 is 4"]),
    ({"pattern": "1:99999"}, 422, "invalid-request", ["groups of 99,999", "divides 8 is 8"]),
    ({"bits": 1}, 422, "invalid-request", ["body.bits", "greater than or equal to 2"]),
    ({"bits": 9}, 422, "invalid-request", ["body.bits", "less than or equal to 8"]),
    ({"damping": 0}, 422, "invalid-request", ["body.damping", "greater than 0"]),
    ({"damping": 2}, 422, "invalid-request", ["body.damping", "less than or equal to 1"]),
    ({"block": 0}, 422, "invalid-request", ["body.block", "greater than or equal to 1"]),
    ({"sparsty": 0.9}, 422, "invalid-request", ["body.sparsty"]),
    ({"layers": []}, 422, "invalid-request", ["body.layers", "at least 1"]),
    ({"layers": [3]}, 404, "not-found", ["no block 3", "0 to 2"]),
    ({"layers": [-1]}, 404, "not-found", ["no block -1", "0 to 2"]),
    ({"projections": ["q_proj"]}, 404, "not-found", ["q_proj", "gate_proj, down_proj"]),
    ({"propagate": True, "layers": [0, 1, 2]}, 422, "invalid-request", ["whole model", "Leave out layers"]),
    (
        {"propagate": True, "layers": [1], "projections": ["gate_proj"]},
        422,
        "invalid-request",
        ["layers and projections", "set propagate to false"],
    ),
]
PRUNINGS: list[tuple[dict[str, Any], int, str, list[str]]] = [
    ({"method": "luck"}, 422, "invalid-request", ["body.method", "sparsegpt"]),
    ({"neurons": {"by": "luck"}}, 422, "invalid-request", ["body.neurons.by", "random"]),
    ({"neurons": {"share": 0}}, 422, "invalid-request", ["body.neurons.share", "greater than 0"]),
]
EXPANSIONS: list[tuple[dict[str, Any], int, str, list[str]]] = [
    ({"experts": 0}, 422, "invalid-request", ["body.experts", "greater than or equal to 1"]),
    ({"experts": 1025}, 422, "invalid-request", ["body.experts", "less than or equal to 1024"]),
    ({"experts": 41}, 422, "invalid-request", ["41 experts", "40 tokens", "40 or less"]),
    ({"reduction": 0}, 422, "invalid-request", ["body.reduction", "greater than or equal to 1"]),
    ({"reduction": 9}, 422, "invalid-request", ["reduction by 9", "gate_proj", "8 wide", "8 or less"]),
    ({"clusters": "tarot"}, 422, "invalid-request", ["body.clusters", "kmeans"]),
    ({"method": "wanda"}, 422, "invalid-request", ["body.method"]),
]
CASES = [
    *(("prunings", *case) for case in SHARED + PRUNINGS),
    *(("expansions", *case) for case in SHARED + EXPANSIONS),
]


@pytest.mark.parametrize(("noun", "body", "status", "code", "words"), CASES)
def test_bad_requests_are_refused_and_nothing_is_made(
    api: TestClient,
    run: str,
    queue: FakeQueue,
    noun: str,
    body: dict[str, Any],
    status: int,
    code: str,
    words: list[str],
) -> None:
    fitting = {"experts": 4, "reduction": 8} if noun == "expansions" else {}
    for address in (f"/v1/runs/{run}/{noun}", f"/v1/runs/{run}/{noun}/estimate"):
        answer = api.post(address, json=fitting | body)
        for word in words:
            check(answer, status, code, word)
        assert "Value error" not in answer.text
    assert api.get(f"/v1/runs/{run}/{noun}").json()["total"] == 0
    assert queue.jobs_by_id == {}


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity"])
@pytest.mark.parametrize("field", [b"sparsity", b"damping"])
def test_numbers_that_are_none_are_refused(api: TestClient, run: str, field: bytes, value: bytes) -> None:
    answer = api.post(
        f"/v1/runs/{run}/prunings",
        content=b'{"%s": %s}' % (field, value),
        headers={"content-type": "application/json"},
    )
    check(answer, 422, "invalid-request", f"body.{field.decode()}")


@pytest.mark.parametrize("noun", ["prunings", "expansions", "evaluations"])
def test_a_run_that_is_not_finished_is_refused(api: TestClient, store: Store, noun: str) -> None:
    run = make_run(store, blocks=2)
    problem = check(api.post(f"/v1/runs/{run}/{noun}", json={}), 409, "conflict", "2 of 3 blocks are scored")
    assert "Wait for its job" in problem.hint


@pytest.mark.parametrize("noun", ["prunings", "expansions", "evaluations"])
def test_what_there_is_not_is_named(api: TestClient, run: str, noun: str) -> None:
    name = f"{noun[0] if noun != 'expansions' else 'x'}-0123456789ab"
    for address in (f"/v1/runs/no-such-run-at-all/{noun}", f"/v1/runs/no-such-run-at-all/{noun}/{name}"):
        check(api.get(address), 404, "not-found", "no-such-run-at-all")
    check(api.post(f"/v1/runs/no-such-run-at-all/{noun}", json={}), 404, "not-found", "no-such-run-at-all")
    check(api.get(f"/v1/runs/{run}/{noun}/{name}"), 404, "not-found", name)
    check(api.delete(f"/v1/runs/{run}/{noun}/{name}"), 404, "not-found", name)
    check(api.get(f"/v1/runs/{run}/{noun}/q-0123456789ab"), 422, "invalid-request", "path.")
    if noun != "evaluations":
        check(api.post(f"/v1/runs/{run}/{noun}/{name}/export"), 404, "not-found", name)


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("map?metric=ri", 422, "pruning=ID"),
        ("map?metric=pruned_w1", 422, "pruning=ID"),
        ("layers/1/gate_proj?metrics=expanded_wd", 422, "expansion=ID"),
        ("neurons?sort=-ri&pruning={pruning}", 422, "expansion=ID"),
        ("map?metric=pruned_w1&pruning=p-0123456789ab", 404, "p-0123456789ab"),
        ("map?metric=pruned_w1&pruning=x-0123456789ab", 422, "query.pruning"),
        (
            "layers/1/gate_proj/neurons/5/distributions?pruning={pruning}",
            409,
            "has not done gate_proj of block 1",
        ),
        ("layers/1/gate_proj/neurons/5/distributions?expansion=x-0123456789ab", 404, "x-0123456789ab"),
        ("layers/1/gate_proj/neurons/999/distributions", 404, "999"),
        ("expansions/{expansion}/layers/1/gate_proj/experts", 409, "has not done gate_proj of block 1"),
        ("expansions/{expansion}/layers/9/gate_proj/experts", 404, "no block 9"),
        ("expansions/{expansion}/layers/1/q_proj/experts", 404, "q_proj"),
        ("expansions/x-0123456789ab/layers/1/gate_proj/experts", 404, "x-0123456789ab"),
    ],
)
def test_effects_that_are_not_there_are_explained(
    api: TestClient, run: str, store: Store, path: str, status: int, word: str
) -> None:
    pruning, expansion = variant_of(store, run, "prunings"), variant_of(store, run, "expansions")
    write(store, run, pruning, 0, "gate_proj")
    write(store, run, expansion, 0, "gate_proj")
    codes = {404: "not-found", 409: "conflict", 422: "invalid-request"}
    address = f"/v1/runs/{run}/{path.format(pruning=pruning, expansion=expansion)}"
    check(api.get(address), status, codes[status], word)
