"""Prune, expand, evaluate and export on the command line, against an API in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from app.cli import base, tables
from app.errors import NotFound
from app.schemas.evaluation import Evaluation, EvaluationRequest, EvaluationSubmitted, PerplexityResult
from app.schemas.expansion import ExpansionSettings, ExpansionSubmitted
from app.schemas.job import Job, JobState
from app.schemas.model import Estimate
from app.schemas.page import Page
from app.schemas.problem import Problem
from app.schemas.pruning import PruningSettings, PruningSubmitted
from app.schemas.run import Run
from app.schemas.variant import Coverage
from app.store import Store
from tests.unit.service.conftest import call
from tests.unit.store.made import make_run
from tests.unit.store.test_variants import write

ESTIMATE = Estimate(
    tokens=40, host_bytes=3 * 2**30, device_bytes=3 * 2**30, store_bytes=2**20, seconds=150, basis="measured"
)
Serve = Callable[..., list[httpx.Request]]


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
    """Answers of an API with a pruning and an expansion, a layer done of each."""
    pruning = store.variants.create(run, PruningSettings(sparsity=0.9))
    expansion = store.variants.create(run, ExpansionSettings(sparsity=0.9, experts=3))
    write(store, run, pruning, 1, "gate_proj")
    write(store, run, pruning, 2, "gate_proj")
    write(store, run, expansion, 1, "gate_proj")
    pruned, expanded = store.variants.pruning(run, pruning), store.variants.expansion(run, expansion)
    ended = Job(id="prune-tiny-1", kind="prune", state=JobState.finished, run=run)
    queued = ended.model_copy(update={"state": JobState.queued})
    return {
        "POST /prunings/estimate": ESTIMATE,
        "POST /expansions/estimate": ESTIMATE,
        "POST /prunings": PruningSubmitted(pruning=pruned, job=queued, estimate=ESTIMATE),
        "POST /expansions": ExpansionSubmitted(expansion=expanded, job=None, estimate=ESTIMATE),
        f"POST /{pruning}/export": queued,
        f"POST /{expansion}/export": queued,
        "GET /prunings": Page(items=[pruned], total=1, limit=50, offset=0),
        "GET /expansions": Page(items=[expanded], total=1, limit=50, offset=0),
        f"GET /prunings/{pruning}": pruned.model_copy(update={"export": "/the/folder"}),
        f"GET /expansions/{expansion}": expanded,
        "GET /events": f"event: end\ndata: {ended.model_dump_json()}\n\n",
        "GET /runs": Page[Run](items=[store.run(run)], total=1, limit=1, offset=0),
    }


def body(asked: list[httpx.Request]) -> dict[str, Any]:
    """What the one write sent, without what is left at its default."""
    [sent] = [json.loads(request.content) for request in asked if request.method == "POST"]
    return {name: value for name, value in sent.items() if value is not None}


def test_prune_sends_its_options_and_prints_the_layers_asked_for(
    serve: Serve, answers: dict[str, Any], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = serve(answers)
    arguments = (
        "--sparsity 0.9 --method wanda --layer 1 --layer 0 --projection gate_proj --bits 4 --no-compare"
    )
    assert call("prune", run, *arguments.split()) == 0
    printed = capsys.readouterr().out
    sent = body(asked)
    assert (sent["sparsity"], sent["method"], sent["bits"], sent["compare"]) == (0.9, "wanda", 4, False)
    assert (sent["layers"], sent["projections"]) == ([1, 0], ["gate_proj"])
    assert "SparseGPT 90 %: 2 of 6 layers" in printed
    assert [line.split()[:5] for line in printed.splitlines() if "gate_proj" in line] == [
        ["1", "gate_proj", "90", "%", "0.3"]
    ]


def test_expand_prints_the_sizes_of_its_experts(
    serve: Serve, answers: dict[str, Any], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = serve(answers)
    arguments = "--experts 3 --pattern 2:4 --reduction 4 --clusters random --seed 7 --per-row --propagate"
    assert call("expand", run, *arguments.split()) == 0
    sent = body(asked)
    assert (sent["experts"], sent["pattern"], sent["reduction"], sent["clusters"]) == (3, "2:4", 4, "random")
    assert (sent["seed"], sent["per_row"], sent["propagate"]) == (7, True, True)
    assert "layers" not in sent
    assert "1 to 1" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["prune", "expand"])
def test_an_estimate_is_only_told(
    serve: Serve, answers: dict[str, Any], run: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = serve(answers)
    assert call(command, run, "--estimate") == 0
    told = capsys.readouterr().out
    assert told == "About 2 min, 3 GiB of memory a worker, 1 MiB in the store (measured).\n"
    assert [request.url.path.rpartition("/")[2] for request in asked] == ["estimate"]
    assert call(command, run, "--estimate", "--json") == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == 150


def test_latest_is_the_newest_run(
    serve: Serve, answers: dict[str, Any], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = serve(answers)
    assert call("prunings", "latest") == 0
    assert asked[-1].url.path.endswith(f"/runs/{run}/prunings")
    assert "SparseGPT 90 %" in capsys.readouterr().out
    serve({"GET /runs": Page[Run](items=[], total=0, limit=1, offset=0)})
    assert call("expansions", "latest") == 2
    assert "There is no run yet" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["prune", "expand", "prunings", "expansions"])
def test_as_json_nothing_else_is_printed(
    serve: Serve, answers: dict[str, Any], run: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(answers)
    assert call(command, run, "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_evaluate_prints_perplexities_with_their_intervals(
    serve: Serve, run: str, capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    results = [
        PerplexityResult(title="dense", perplexity=9.87, low=9, high=10.8, ffn_sparsity=0, layers=0),
        PerplexityResult(
            variant="p-0123456789ab",
            title="SparseGPT 50 %",
            perplexity=12.55,
            low=11.6,
            high=13.7,
            ffn_sparsity=0.5,
            layers=90,
        ),
    ]
    found = Evaluation(
        id="e-0123456789ab",
        run=run,
        request=EvaluationRequest(variants=["p-0123456789ab"], corpus="hub:c4", window=64),
        created_at=store.run(run).created_at,
        finished=True,
        results=results,
        tokens=504,
        windows=8,
    )
    asked = serve(
        {
            "POST /evaluations": EvaluationSubmitted(evaluation=found, job=None),
            "GET /e-0123456789ab": found,
        }
    )
    arguments = "p-0123456789ab --tokens 512 --window 64 --corpus hub:c4 --seed 3"
    assert call("evaluate", run, *arguments.split()) == 0
    sent = body(asked)
    assert sent == {
        "variants": ["p-0123456789ab"],
        "tokens": 512,
        "window": 64,
        "corpus": "hub:c4",
        "seed": 3,
    }
    printed = capsys.readouterr().out
    assert "504 tokens from the end of hub:c4, 8 windows of 64" in printed
    assert "9 to 10.8" in printed
    assert "11.6 to 13.7" in printed
    assert call("evaluate", run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["results"][1]["perplexity"] == 12.55


def test_export_prints_the_folder(
    serve: Serve, answers: dict[str, Any], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(answers)
    variant = answers["POST /prunings"].pruning.id
    assert call("export", run, variant) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "/the/folder"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["prune", "some-run", "--sparsity", "2"], "sparsity: Input should be less than or equal to 1"),
        (["prune", "some-run", "--bits", "1"], "bits: Input should be greater than or equal to 2"),
        (["prune", "some-run", "--pattern", "2-4"], "pattern"),
        (["prune", "some-run", "--pattern", "5:4"], "5:4 is no pattern"),
        (["prune", "some-run", "--pattern", "2:4", "--sparsity", "0.5"], "both given"),
        (["prune", "some-run", "--method", "luck"], "'magnitude'"),
        (["expand", "some-run", "--experts", "0"], "experts"),
        (["expand", "some-run", "--layer", "first"], "--layer"),
        (["evaluate", "some-run", "p-1"], "variants.0"),
        (["evaluate", "some-run", "--window", "1"], "window"),
        (["prune"], "run"),
        (["export", "some-run"], "variant"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_names_what_is_wrong(
    serve: Serve, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    asked = serve({})
    assert call(*arguments) == 2
    told = capsys.readouterr().err
    assert word in told
    assert "Traceback" not in told
    assert asked == []


def test_a_refusal_of_the_service_is_told_with_what_to_do(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Problem.of(NotFound("Run 'x' has no block 9.", hint="Blocks go from 0 to 2."))
    serve({"POST /prunings": refused})
    assert call("prune", "some-run", "--layer", "9") == 2
    told = capsys.readouterr().err
    assert "Not found: Run 'x' has no block 9." in told
    assert "Blocks go from 0 to 2." in told


@pytest.mark.parametrize(("width", "terminal"), [(60, True), (200, True), (60, False)])
def test_tables_keep_their_numbers_at_any_width(
    store: Store, answers: dict[str, Any], tmp_path: Path, width: int, terminal: bool
) -> None:
    path = tmp_path / "out.txt"
    with path.open("w") as stream:
        console = Console(file=stream, width=width, force_terminal=terminal, color_system=None)
        tables.print_variant(console, answers["POST /prunings"].pruning, Coverage())
        tables.print_variants(console, answers["GET /prunings"].items)
    assert "0.3" in path.read_text()
