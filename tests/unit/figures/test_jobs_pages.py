"""Jobs, variants and evaluations: what their pages say and where they lead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.schemas.evaluation import Evaluation, EvaluationRequest, PerplexityResult
from app.schemas.job import Job, JobState, Progress
from app.schemas.pruning import PruningSettings
from frontend import ids, paths
from frontend.callbacks.evaluations import request_of
from frontend.components.job_panel import device_note, pace_of
from frontend.components.made import made_by
from frontend.form_errors import FormErrors
from frontend.pages.jobs import filters
from tests.unit.figures import fake_client as fake
from tests.unit.figures.fake_variants import EXPANSION, MADE, PRUNING, a_pruning, an_expansion
from tests.unit.figures.test_pages import rendered

EVALUATION = "e-0123456789ab"
VARIANTS = f"/runs/{fake.RUN}/variants"


def a_job(state: JobState = JobState.running, **values: Any) -> Job:
    values = {"kind": "prune", "subject": PRUNING, "title": "SparseGPT 90 %: block 3 up_proj"} | values
    return Job(id="prune-one-two", state=state, run=fake.RUN, created_at=MADE, **values)


def an_evaluation(finished: bool = True) -> Evaluation:
    results = [
        PerplexityResult(title="dense", perplexity=10.0, low=9.0, high=11.0, ffn_sparsity=0, layers=0),
        PerplexityResult(
            variant=PRUNING,
            title="SparseGPT 90 %",
            perplexity=25.0,
            low=22,
            high=28,
            ffn_sparsity=0.3,
            layers=3,
        ),
    ]
    return Evaluation(
        id=EVALUATION,
        run=fake.RUN,
        request=EvaluationRequest(variants=[PRUNING]),
        created_at=MADE,
        finished=finished,
        results=results if finished else [],
        tokens=8176,
        windows=16,
        seconds=14.2,
        job=None if finished else "evaluate-one",
    )


@pytest.mark.parametrize(
    ("job", "end"),
    [
        (a_job(kind="explore", subject=None), ""),
        (a_job(kind="outputs", subject=None, layer=2, projection="up_proj"), "/layers/2/up_proj"),
        (a_job(), f"?pruning={PRUNING}"),
        (a_job(layer=3, projection="up_proj"), f"/layers/3/up_proj?pruning={PRUNING}"),
        (
            a_job(kind="expand", subject=EXPANSION, layer=0, projection="down_proj"),
            f"/layers/0/down_proj?expansion={EXPANSION}",
        ),
        (
            a_job(kind="sweep", subject="s-0123456789ab", layer=2, projection="up_proj"),
            "/layers/2/up_proj/neurons/0/sweep?sweep=s-0123456789ab",
        ),
        (a_job(kind="evaluate", subject=EVALUATION), f"/evaluations/{EVALUATION}"),
        (a_job(kind="export"), f"/variants?pruning={PRUNING}"),
    ],
)
def test_a_job_leads_to_what_it_makes(job: Job, end: str) -> None:
    address = made_by(job)[1]
    assert address == paths.run_path(fake.RUN) + end
    assert paths.read(*address.partition("?")[::2]).page != "nowhere"


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ({}, {}),
        ({"state": "running", "kind": "prune"}, {"state": "running", "kind": "prune"}),
        ({"state": "asleep", "kind": "what"}, {}),
        ({"state": "all", "kind": "export"}, {"kind": "export"}),
    ],
)
def test_filters_are_read_from_the_address(query: dict[str, str], chosen: dict[str, str]) -> None:
    assert filters(query) == chosen


def test_the_list_holds_what_one_waits_for() -> None:
    running = a_job(
        worker="host-1-abc",
        device="cuda:0",
        parts=2,
        progress=Progress(phase="block 3", fraction=0.3, block=3, blocks=10, eta_seconds=90.0),
    )
    waiting = Job(id="explore-other", kind="explore", state=JobState.queued, run=fake.RUN, place=4)
    page = rendered("/jobs", fake.FakeClient(jobs=[running, waiting]))
    for words in ("3 of 10 blocks", "1 min 30 s", "host-1-abc", "cuda:0", PRUNING, "place 4", "2 of 2 jobs"):
        assert words in page
    filtered = rendered("/jobs?state=queued", fake.FakeClient(jobs=[running, waiting]))
    assert "explore-other" in filtered
    assert "host-1-abc" not in filtered
    assert "No job is like this" in rendered("/jobs?kind=export", fake.FakeClient(jobs=[running]))


def test_a_job_in_parts_tells_the_blocks_of_the_whole() -> None:
    job = a_job(parts=3, progress=Progress(block=4, blocks=30, eta_seconds=61.0, tokens_per_second=512.0))
    assert pace_of(job) == "4 of 30 blocks · in 3 parts · 512 tokens/s · 1 min 1 s left"


def test_a_cancelled_job_says_when_its_device_is_free() -> None:
    asked = device_note(a_job(cancelling=True, device="cuda:0"))
    assert "cuda:0" in asked
    assert "once the job's process has ended" in asked
    ended = a_job(
        JobState.cancelled, device="cuda:0", started_at=MADE, ended_at=MADE + timedelta(hours=1, seconds=5)
    )
    assert f"{ended.ended_at:%H:%M:%S} UTC: its device (cuda:0) is free" in device_note(ended)
    assert "no device was in use" in device_note(a_job(JobState.cancelled))
    assert device_note(a_job()) == ""


@pytest.mark.parametrize(
    ("state", "button"),
    [("running", "cancel"), ("failed", "retry"), ("cancelled", "retry"), ("finished", None)],
)
def test_the_button_of_a_job(state: str, button: str | None) -> None:
    page = rendered("/jobs/prune-one-two", fake.FakeClient(jobs=[a_job(JobState(state))]))
    for kind in ("cancel", "retry"):
        assert (f'"type": "{kind}"' in page) is (kind == button)


def test_variants_are_listed_with_their_zeros_and_exports() -> None:
    folder = "/data/store/export"
    client = fake.FakeClient(prunings=[a_pruning(export=folder)], expansions=[an_expansion()])
    page = rendered(VARIANTS, client)
    assert folder in page
    assert f'"variant": "{EXPANSION}"' in page
    assert "Zeros alone make nothing faster" in page
    assert ids.EVALUATE_SUBMIT in page
    assert "Nothing is evaluated yet" in page


def test_an_export_under_way_takes_the_place_of_its_button() -> None:
    client = fake.FakeClient(prunings=[a_pruning()], jobs=[a_job(kind="export")])
    page = rendered(VARIANTS, client)
    assert '"type": "export"' not in page
    assert "exporting…" in page


def test_without_variants_the_next_step_is_named() -> None:
    page = rendered(VARIANTS, fake.FakeClient(jobs=[]))
    assert "Nothing is pruned or expanded yet" in page
    assert "nothing is pruned or expanded yet" in page  # in the form


def test_results_say_what_they_were_measured_on() -> None:
    client = fake.FakeClient(evaluations=[an_evaluation()], prunings=[a_pruning()])
    page = rendered(f"/runs/{fake.RUN}/evaluations/{EVALUATION}", client)
    for words in (
        "25.0",
        "22.0 to 28.0",
        "2.5 ×",
        "30 %",
        "8,176 predicted tokens in 16 windows of up to 512",
    ):
        assert words in page
    assert f"/runs/{fake.RUN}?pruning={PRUNING}" in page
    assert "8,176 predicted tokens" in rendered(VARIANTS, client)


def test_an_evaluation_that_is_not_finished_shows_its_job() -> None:
    job = Job(id="evaluate-one", kind="evaluate", state=JobState.running, run=fake.RUN, subject=EVALUATION)
    client = fake.FakeClient(evaluations=[an_evaluation(finished=False)], jobs=[job])
    assert ids.JOB_TICK in rendered(f"/runs/{fake.RUN}/evaluations/{EVALUATION}", client)
    gone = fake.FakeClient(evaluations=[an_evaluation(finished=False)], jobs=[])
    assert "No job is at work on it now" in rendered(f"/runs/{fake.RUN}/evaluations/{EVALUATION}", gone)


NAMES = [ids.evaluate(name) for name in ("variants", "corpus", "tokens", "window", "seed")]


def test_the_form_makes_the_request() -> None:
    made = request_of([[PRUNING], "own", 4096, 256, 0], NAMES)
    assert made == EvaluationRequest(variants=[PRUNING], tokens=4096, window=256)
    assert request_of([None, "python-docs", 64, 16, 1], NAMES).corpus == "python-docs"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ([[], "own", "", 16, 0], "tokens"),
        ([[], "own", 3, 16, 0], "tokens"),
        ([[], "own", 64, 2, 0], "window"),
        ([["q-1"], "own", 64, 16, 0], "variants"),
        ([[], "own", 64, 16, -1], "seed"),
    ],
)
def test_what_does_not_fit_is_said_at_its_field(values: list[Any], field: str) -> None:
    with pytest.raises(FormErrors) as caught:
        request_of(values, NAMES)
    assert list(caught.value.fields) == [field]


def test_settings_shown_are_those_of_a_pruning() -> None:
    pruned = a_pruning(settings=PruningSettings(sparsity=0.5))
    assert pruned.title in rendered(VARIANTS, fake.FakeClient(prunings=[pruned]))
