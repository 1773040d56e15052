"""Sweeps on the command line, against an API in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import base
from app.schemas.model import Estimate
from app.schemas.run import Run
from app.schemas.sweep import SweepRequest, SweepSubmitted
from app.store import Store
from tests.unit.service.conftest import call
from tests.unit.store.made import make_run
from tests.unit.store.test_sweeps import REQUEST, write

ESTIMATE = Estimate(
    tokens=40, host_bytes=3 * 2**30, device_bytes=3 * 2**30, store_bytes=2**20, seconds=42, basis="measured"
)
Serve = Callable[..., list[httpx.Request]]
HERE = ("--layer", "1", "--projection", "gate_proj")


@pytest.fixture(autouse=True)
def _printed() -> None:
    base.out.file = base.err.file = None  # type: ignore[assignment]  # rich then looks up sys.stdout anew


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def run(store: Store) -> str:
    return make_run(store)


@pytest.fixture
def answers(store: Store, run: str) -> dict[str, Any]:
    sweep = write(store, run)
    made = store.sweeps.get(run, sweep)
    return {
        "POST /sweeps/estimate": ESTIMATE,
        "POST /sweeps": SweepSubmitted(sweep=made, job=None, estimate=ESTIMATE),
        "GET /neurons/3/sweep": store.neuron_sweep(run, 1, "gate_proj", 3, sweep),
        f"GET /sweeps/{sweep}": made,
        "GET /runs": {"items": [Run.model_dump(store.run(run), mode="json")], "total": 1},
    }


def test_sweep_sends_its_options_and_prints_each_point(
    serve: Serve, answers: dict[str, Any], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = serve(answers)
    options = "--sparsities 0.9,0.5 --patterns 2:4,1:4 --experts 2 --expert-counts 2,1"
    assert call("sweep", run, *HERE, *options.split()) == 0
    [sent] = [json.loads(request.content) for request in asked if request.method == "POST"]
    assert (sent["layer"], sent["projection"], sent["experts"]) == (1, "gate_proj", 2)
    assert (sent["sparsities"], sent["patterns"], sent["expert_counts"]) == (
        [0.5, 0.9],
        ["1:4", "2:4"],
        [1, 2],
    )
    printed = capsys.readouterr().out
    for title, error in (("SparseGPT 50 %", "0"), ("2 experts 90 %", "0.375"), ("1 experts 90 %", "0.5")):
        [line] = [line for line in printed.splitlines() if line.strip().startswith(title)]
        assert line.split()[-1] == error


def test_sweep_prints_a_neuron(
    serve: Serve, answers: dict[str, Any], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(answers)
    assert call("sweep", run, *HERE, "--neuron", "3") == 0
    printed = capsys.readouterr().out
    [line] = [line for line in printed.splitlines() if line.strip().startswith("2 experts 90 %")]
    assert line.split()[-4:] == ["1.5", "1", f"{1 / answers['GET /neurons/3/sweep'].std:.4g}", "2"]
    assert call("sweep", run, *HERE, "--neuron", "3", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) == 5


def test_the_defaults_are_the_requests(serve: Serve, answers: dict[str, Any], run: str) -> None:
    asked = serve(answers)
    assert call("sweep", run, *HERE) == 0
    [sent] = [json.loads(request.content) for request in asked if request.method == "POST"]
    assert SweepRequest(**sent) == SweepRequest(layer=1, projection="gate_proj")
    assert SweepRequest(**sent) != REQUEST


def test_an_estimate_starts_nothing(
    serve: Serve, answers: dict[str, Any], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = serve(answers)
    assert call("sweep", run, *HERE, "--estimate") == 0
    assert "About 42 s, 3 GiB" in capsys.readouterr().out
    assert [request.url.path for request in asked if request.method == "POST"] == [
        f"/api/v1/runs/{run}/sweeps/estimate"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sparsities", "0.5,many"], "not numbers"),
        (["--sparsities", "0.5,1.5"], "less than or equal to 1"),
        (["--at", "0.42"], "not one of the sparsities"),
    ],
)
def test_bad_options_say_what_is_wrong(
    serve: Serve,
    answers: dict[str, Any],
    run: str,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    asked = serve(answers)
    assert call("sweep", run, *HERE, *options) == 2
    assert words in capsys.readouterr().err
    assert not [request for request in asked if request.method == "POST"]
