"""Reads of layers and of the map: parts, conditions, correlations, and what is refused."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from app.schemas import layer as schemas
from app.store import reader
from tests.contract.test_problems import check


def test_a_part_of_the_map(api: TestClient, run: str) -> None:
    asked = {"projection": "gate_proj", "first_layer": 1, "last_layer": 2, "first_rank": 5, "last_rank": 24}
    part = schemas.RunMap.model_validate(api.get(f"/v1/runs/{run}/map", params=asked).json())
    assert part.bins == 20
    assert [(row.layer, row.first_rank, row.last_rank) for row in part.rows] == [(1, 5, 24), (2, 5, 24)]
    first = api.get(
        f"/v1/runs/{run}/neurons", params={"layer": 1, "projection": "gate_proj", "offset": 4}
    ).json()
    assert part.rows[0].leaders == [row["index"] for row in first["items"][:20]]
    assert part.rows[0].values == pytest.approx([row["wd"] for row in first["items"][:20]])


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("first_layer=2&last_layer=1", "last_layer is 1"),
        ("first_rank=3&last_rank=2", "last_rank is 2"),
        ("first_rank=71", "rank 71"),
        ("first_layer=3", "No block from 3 on"),
        ("first_rank=0", "query.first_rank"),
        ("last_rank=x", "query.last_rank"),
        ("bins=0", "query.bins"),
        ("bins=100000", "query.bins"),
        ("metric=beauty", "query.metric"),
        ("metric=pruned_w1", "pruning"),
        ("pruning=x-0123456789ab", "query.pruning"),
        ("part=left", "query.part"),
    ],
)
def test_parts_that_cannot_be_are_refused(api: TestClient, run: str, query: str, word: str) -> None:
    check(api.get(f"/v1/runs/{run}/map?{query}"), 422, "invalid-request", word)


def test_more_cells_than_fit_are_refused_and_never_sent(
    api: TestClient, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.maps.MOST_CELLS", 200)
    problem = check(api.get(f"/v1/runs/{run}/map?bins=50"), 422, "invalid-request", "300 cells; at most 200")
    assert "at most 33 bins" in problem.hint
    assert api.get(f"/v1/runs/{run}/map").json()["bins"] == 33
    assert api.get(f"/v1/runs/{run}/map?bins=50&last_layer=1").json()["bins"] == 50
    monkeypatch.setattr(reader, "MOST_CELLS", 60)
    check(api.get(f"/v1/runs/{run}/layers/0/gate_proj"), 422, "invalid-request", "70 neurons; at most 60")
    assert api.get(f"/v1/runs/{run}/layers/0/down_proj").status_code == 200


def test_how_many_have_at_least_a_wd(api: TestClient, run: str) -> None:
    found = api.get(f"/v1/runs/{run}/layers?min_wd=0.5").json()["items"]
    for layer in found:
        where = {"layer": layer["layer"], "projection": layer["projection"], "min_wd": 0.5, "limit": 0}
        assert layer["at_least"] == api.get(f"/v1/runs/{run}/neurons", params=where).json()["total"]
    assert sum(layer["at_least"] for layer in found) > 0
    check(api.get(f"/v1/runs/{run}/layers?min_wd=nan"), 422, "invalid-request", "query.min_wd")
    check(api.get(f"/v1/runs/{run}/layers?min_wd=much"), 422, "invalid-request", "query.min_wd")


def test_conditions_filter_rows(api: TestClient, run: str) -> None:
    where = ["wd>=0.4", "kurtosis<20.5"]
    found = api.get(f"/v1/runs/{run}/neurons", params={"where": where, "limit": 500}).json()
    assert found["total"] == len(found["items"]) > 0
    assert all(row["wd"] >= 0.4 and row["kurtosis"] < 20.5 for row in found["items"])
    csv = api.get(f"/v1/runs/{run}/neurons", params={"where": where, "format": "csv"}).text
    assert len(csv.splitlines()) == 1 + found["total"]


@pytest.mark.parametrize(
    ("condition", "word"),
    [
        ("beauty>1", "query.where"),
        ("wd", "query.where"),
        ("wd>much", "query.where"),
        ("wd>1; drop table scores", "query.where"),
        ("wd>nan", "query.where"),
        ("constant=1", "query.where"),
        ("ri>1", "pruning"),
    ],
)
def test_conditions_that_cannot_be_are_refused(api: TestClient, run: str, condition: str, word: str) -> None:
    answer = api.get(f"/v1/runs/{run}/neurons", params={"where": condition})
    check(answer, 422, "invalid-request", word)


def test_a_correlation_says_over_how_many(api: TestClient, run: str) -> None:
    path = f"/v1/runs/{run}/layers/0/gate_proj/correlation"
    found = schemas.Correlation.model_validate(api.get(path, params={"x": "md", "y": "kurtosis"}).json())
    assert (found.x, found.y, found.n) == ("md", "kurtosis", 70)
    assert found.pearson == pytest.approx(1)
    assert found.spearman == pytest.approx(1)
    same = api.get(path, params={"x": "wd", "y": "entropy"}).json()
    assert (same["n"], same["pearson"], same["spearman"]) == (69, None, None)
    check(api.get(path, params={"x": "beauty"}), 422, "invalid-request", "query.x")
    check(api.get(path, params={"x": "ri"}), 422, "invalid-request", "pruning")
    check(api.get(f"/v1/runs/{run}/layers/9/gate_proj/correlation"), 404, "not-found", "Blocks go from 0")
