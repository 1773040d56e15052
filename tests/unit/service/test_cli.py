"""The command line against an API in memory: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from app.cli import base
from app.client import Client
from app.console import follow, print_neurons
from app.errors import Conflict, CorpusError
from app.schemas.job import Job, JobState, Progress
from app.schemas.neuron import NeuronQuery
from app.schemas.problem import Problem
from app.schemas.run import RunSubmitted
from app.store import Store
from tests.unit.service.conftest import call
from tests.unit.store.made import make_run

RUN = "tiny-llama-1-0-"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def job(state: JobState, **values: Any) -> Job:
    return Job(id="explore-tiny-1", kind="explore", state=state, run="tiny-1", **values)


def finished(store: Store) -> dict[str, Any]:
    """Answers of an API whose run is finished."""
    run = make_run(store)
    record = store.run(run)
    return {
        "POST /runs": RunSubmitted(run=record, job=None),
        "GET /neurons": store.neurons(run, NeuronQuery(limit=3)),
        f"GET /runs/{run}": record,
    }


def test_explore_prints_the_neurons_with_their_links(
    serve: Callable[..., list[httpx.Request]], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = serve(finished(store))
    base.out.file = base.err.file = None  # type: ignore[assignment]  # rich then looks up sys.stdout anew
    arguments = ["explore", "path:tiny", "--tokens", "40", "--window", "16", "--url", "http://here:1"]
    assert call(*arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("http://here:1/runs/tiny-llama-1-0-") == 3
    assert "/layers/" in printed
    assert json.loads(asked[0].content)["window"] == 16


def test_explore_as_json_prints_nothing_else(
    serve: Callable[..., list[httpx.Request]], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(finished(store))
    assert call("explore", "path:tiny", "--window", "16", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["items"]) == 3


def test_a_failed_job_is_told_with_what_to_do(
    serve: Callable[..., list[httpx.Request]], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = finished(store)
    failed = job(
        JobState.failed, problem=Problem.of(CorpusError("The text is short.", hint="Take a longer one."))
    )
    answers["POST /runs"] = RunSubmitted(run=answers["POST /runs"].run, job=job(JobState.queued, place=1))
    serve(answers | {"GET /events": f"event: end\ndata: {failed.model_dump_json()}\n\n"})
    assert call("explore", "path:tiny", "--window", "16") == 1
    told = capsys.readouterr().err
    assert "The corpus cannot be used: The text is short." in told
    assert "Take a longer one." in told
    assert "Traceback" not in told


def test_nothing_at_the_address_is_exit_code_3(
    serve: Callable[..., list[httpx.Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    serve({})
    assert call("jobs") == 3
    told = capsys.readouterr().err
    assert "The API cannot be reached: Nothing answers at http://there" in told
    assert "wasserscope up" in told


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["explore", "gpt5"], "model"),
        (["explore", "demo", "--tokens", "-1"], "tokens"),
        (["explore", "demo", "--window", "1"], "window"),
        (["up", "--port", "99999"], "port"),
        (["neurons"], "run"),
        (["dance"], "dance"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_names_what_is_wrong(
    serve: Callable[..., list[httpx.Request]],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    word: str,
) -> None:
    serve({})
    assert call(*arguments) == 2
    told = capsys.readouterr().err
    assert word in told
    assert "Traceback" not in told


def test_an_interrupted_explore_says_that_the_job_goes_on(
    serve: Callable[..., list[httpx.Request]],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> Job:
        raise KeyboardInterrupt

    answers = finished(store)
    answers["POST /runs"] = RunSubmitted(run=answers["POST /runs"].run, job=job(JobState.running))
    serve(answers)
    monkeypatch.setattr(base.show, "follow", interrupted)
    assert call("explore", "path:tiny", "--window", "16") == 130
    assert "wasserscope cancel explore-tiny-1" in capsys.readouterr().err


def test_retry_follows_the_job_and_says_what_stands_in_its_way(
    serve: Callable[..., list[httpx.Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    ended = f"event: end\ndata: {job(JobState.finished).model_dump_json()}\n\n"
    asked = serve({"POST /jobs/explore-tiny-1/retry": job(JobState.queued), "GET /events": ended})
    assert call("retry", "explore-tiny-1") == 0
    assert asked[0].url.path == "/api/v1/jobs/explore-tiny-1/retry"
    refused = Problem.of(Conflict("Job 'explore-tiny-1' is finished.", hint="Only failed or cancelled jobs."))
    serve({"POST /jobs/explore-tiny-1/retry": refused})
    assert call("retry", "explore-tiny-1") == 2
    assert "is finished" in capsys.readouterr().err


def test_doctor_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WASSERSCOPE_STORE", str(tmp_path / "file" / "store"))
    monkeypatch.setenv("WASSERSCOPE_REDIS_URL", "redis://me:hidden-word@127.0.0.1:1/0")
    monkeypatch.setenv("WASSERSCOPE_TOKEN", "hidden-token")
    monkeypatch.setenv("WASSERSCOPE_PORT", "1")
    assert call("doctor") == 1
    printed = capsys.readouterr().out
    assert "FAIL store" in printed
    assert "FAIL queue" in printed
    assert "WASSERSCOPE_STORE to another place" in printed
    assert "hidden" not in printed
    assert call("doctor", "--json") == 1
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)["items"]}
    assert not found["store"]["ok"]
    assert not found["service"]["needed"]


def test_without_a_terminal_there_is_one_line_a_phase(tmp_path: Path) -> None:
    phases = ["loading", "scoring block 1 of 2", "scoring block 1 of 2", "scoring block 2 of 2"]
    told = [
        job(JobState.running, progress=Progress(phase=text, fraction=i / 4, tokens_per_second=5200.0))
        for i, text in enumerate(phases)
    ] + [job(JobState.finished, progress=Progress(phase="finished", fraction=1.0))]
    events = "".join(f"event: progress\ndata: {one.model_dump_json()}\n\n" for one in told)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=events))
    path = tmp_path / "out.txt"
    with path.open("w") as stream:
        ended = follow(Client("http://there", transport=transport), told[0], Console(file=stream, width=200))
    assert ended.state is JobState.finished
    lines = path.read_text().splitlines()
    assert [line.split("] ")[1].split(" 5,200")[0] for line in lines] == [
        "loading",
        "scoring block 1 of 2",
        "scoring block 2 of 2",
        "finished",
    ]


@pytest.mark.parametrize(("width", "terminal"), [(80, True), (200, True), (80, False)])
def test_links_stay_in_one_piece_at_any_width(
    store: Store, tmp_path: Path, width: int, terminal: bool
) -> None:
    run = store.run(make_run(store))
    rows = store.neurons(run.id, NeuronQuery(limit=3)).items
    path = tmp_path / "out.txt"
    with path.open("w") as stream:
        console = Console(file=stream, width=width, force_terminal=terminal, color_system=None)
        print_neurons(console, rows, run, "http://127.0.0.1:8000")
    lines = path.read_text().splitlines()
    for row in rows:
        link = f"http://127.0.0.1:8000/runs/{run.id}/layers/{row.layer}/{row.projection}/neurons/{row.index}"
        assert sum(link in line for line in lines) == 1
    assert "Gaussian floor 0.2000" in lines[1]
    if terminal:
        table = [line for line in lines[2:] if "http" not in line or width == 200]
        assert max(len(line.rstrip()) for line in table) <= width
