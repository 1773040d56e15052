"""Two runs compared over the API."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from app.store import Store
from tests.contract.test_problems import check
from tests.unit.store.test_differences import make_other


def test_the_neurons_that_moved_most_come_first(api: TestClient, run: str, store: Store) -> None:
    other = make_other(store)
    answer = api.get(f"/v1/runs/{run}/differences", params={"other": other, "limit": 5})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["total"], told["limit"], len(told["items"])) == (270, 5, 5)
    assert [one["distance"] for one in told["items"]] == sorted(
        (one["distance"] for one in told["items"]), reverse=True
    )
    assert "etag" not in answer.headers  # the other run can be deleted
    back = api.get(f"/v1/runs/{other}/differences", params={"other": run, "limit": 1000}).json()["items"]
    same = {(one["layer"], one["projection"], one["index"]): one["moved"] for one in back}
    for one in told["items"]:
        assert same[one["layer"], one["projection"], one["index"]] == -one["moved"]


@pytest.mark.parametrize(
    ("query", "status", "code", "word"),
    [
        ({}, 422, "invalid-request", "other"),
        ({"other": "UPPER"}, 422, "invalid-request", "other"),
        ({"other": "no-such-run-at-all"}, 404, "not-found", "no-such-run-at-all"),
        ({"other": "RUN", "sort": "-md"}, 422, "invalid-request", "sort"),
        ({"other": "RUN", "limit": 1001}, 422, "invalid-request", "1000"),
        ({"other": "RUN", "surprise": 1}, 422, "invalid-request", "surprise"),
    ],
)
def test_bad_questions_say_what_is_wrong(
    api: TestClient, run: str, query: dict[str, str | int], status: int, code: str, word: str
) -> None:
    asked = {name: run if value == "RUN" else value for name, value in query.items()}
    check(api.get(f"/v1/runs/{run}/differences", params=asked), status, code, word)


def test_unfinished_runs_do_not_compare(api: TestClient, run: str, store: Store) -> None:
    other = make_other(store, blocks=1)
    answer = api.get(f"/v1/runs/{run}/differences", params={"other": other})
    check(answer, 409, "conflict", "not finished")
