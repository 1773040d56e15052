"""Several parts as one job: every rule in a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.errors import CorpusError
from app.live import LOG_LINES
from app.queue.group import joint_state, merged_log, whole
from app.schemas.job import Job, JobState, Progress
from app.schemas.problem import Problem

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PROBLEM = Problem.of(CorpusError("The text is too short.", hint="Post a longer one."))
OTHER = Problem.of(CorpusError("The text is gone.", hint="Post it."))
LETTERS = {"q": "queued", "r": "running", "f": "finished", "x": "failed", "c": "cancelled"}


def part(state: str, **values: Any) -> Job:
    progress = values.pop("progress", {})
    return Job(
        id="prune-a-b",
        kind="prune",
        run="a",
        subject="b",
        title="Prune",
        parts=3,
        created_at=NOON,
        state=JobState(LETTERS[state]),
        progress=Progress(**progress),
        **values,
    )


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        ("q", "q"),
        ("qq", "q"),
        ("rq", "r"),
        ("fq", "r"),
        ("xq", "r"),
        ("cq", "r"),
        ("xr", "r"),
        ("fr", "r"),
        ("cr", "r"),
        ("fff", "f"),
        ("xff", "x"),
        ("fx", "x"),
        ("cx", "x"),
        ("fc", "c"),
        ("cc", "c"),
    ],
)
def test_state(parts: str, state: str) -> None:
    for order in (parts, parts[::-1]):
        assert joint_state([JobState(LETTERS[letter]) for letter in order]) is JobState(LETTERS[state])
        assert whole([part(letter) for letter in order]).state is JobState(LETTERS[state])


@pytest.mark.parametrize(
    ("parts", "phase"),
    [
        ("qqq", "queued"),
        ("qrr", "2 of 3 parts running: phase 1"),
        ("xqr", "1 of 3 parts running: phase 2"),
        ("fqq", "1 of 3 parts ended, the others wait"),
        ("xfq", "2 of 3 parts ended, the others wait"),
        ("fff", "finished"),
        ("fxx", "2 of 3 parts failed: phase 1"),
        ("fcf", "1 of 3 parts cancelled: phase 1"),
    ],
)
def test_phase(parts: str, phase: str) -> None:
    made = [part(letter, progress={"phase": f"phase {number}"}) for number, letter in enumerate(parts)]
    assert whole(made).progress.phase == phase


def test_one_part_is_the_job() -> None:
    only = part("r", progress={"phase": "scoring", "fraction": 0.3}, worker="w", tries=2)
    assert whole([only]) is only


def test_numbers_of_a_running_job() -> None:
    job = whole(
        [
            part("f", progress={"fraction": 1.0, "block": 4, "blocks": 4}, tries=1, started_at=at(2), worker="v"),
            part(
                "r",
                progress={
                    "phase": "p", "fraction": 0.5, "block": 2, "blocks": 4, "tokens_per_second": 10.0, "eta_seconds": 7.0
                },
                tries=3,
                started_at=at(1),
                worker="w",
                device="cuda:0",
                cancelling=True,
            ),
            part("r", progress={"tokens_per_second": 5.0, "eta_seconds": 9.0}, tries=1, worker="u", device="cpu"),
            part("q", place=8),
            part("q", place=6),
            part("q"),
        ]
    )  # fmt: skip
    assert job.progress == Progress(
        phase="2 of 6 parts running: p",
        fraction=0.25,
        block=6,
        blocks=8,
        tokens_per_second=15.0,
        eta_seconds=job.progress.eta_seconds,
    )
    # three parts wait for the two that run
    assert job.progress.eta_seconds == pytest.approx(4.5 / (0.5 / 7 + 1 / 9))
    assert (job.id, job.kind, job.run, job.subject, job.title, job.parts) == (
        "prune-a-b",
        "prune",
        "a",
        "b",
        "Prune",
        3,
    )
    assert (job.worker, job.device, job.tries, job.place, job.cancelling) == ("w", "cuda:0", 3, 6, True)
    assert (job.created_at, job.started_at, job.ended_at, job.problem) == (NOON, at(1), None, None)


def test_blocks_and_time_are_those_of_the_whole() -> None:
    """Ten blocks dealt to three parts; the last waits for a worker. By hand: 3 of 10 blocks and a half of one are done."""
    job = whole(
        [
            part("r", progress={"fraction": 0.625, "block": 2, "blocks": 4, "eta_seconds": 15.0}),
            part("r", progress={"fraction": 1 / 3, "block": 1, "blocks": 3, "eta_seconds": 20.0}),
            part("q", place=1),
        ],
        blocks=(4, 3, 3),
    )
    assert (job.progress.block, job.progress.blocks) == (3, 10)
    assert job.progress.fraction == pytest.approx((2.5 + 1) / 10)
    # 0.1 blocks a second each: 6.5 blocks are left for both together
    assert job.progress.eta_seconds == pytest.approx(6.5 / (1.5 / 15 + 2 / 20))


def test_the_time_left_is_that_of_the_slowest_part_when_none_waits() -> None:
    parts = [
        part("r", progress={"fraction": 0.5, "eta_seconds": 10.0}),
        part("r", progress={"fraction": 0.5, "eta_seconds": 90.0}),
        part("f", progress={"fraction": 1.0}),
    ]
    assert whole(parts, blocks=(5, 5, 1)).progress.eta_seconds == 90.0


def test_no_time_is_told_before_there_is_a_pace() -> None:
    assert whole([part("q"), part("q")], blocks=(2, 1)).progress.eta_seconds is None
    waiting = whole([part("q"), part("q")], blocks=(2, 1)).progress
    assert (waiting.block, waiting.blocks, waiting.fraction) == (None, 3, 0.0)


def test_a_part_tried_again_counts_by_the_blocks_it_has_left() -> None:
    job = whole(
        [part("r", progress={"block": 1, "blocks": 2}), part("f", progress={"blocks": 5})], blocks=(4, 5)
    )
    assert (job.progress.block, job.progress.blocks) == (6, 7)


def test_numbers_of_an_ended_job() -> None:
    job = whole(
        [
            part("f", progress={"fraction": 1.0}, started_at=at(3), ended_at=at(5), worker="w", device="cpu"),
            part("x", progress={"fraction": 0.5}, started_at=at(1), ended_at=at(9), worker="u", problem=PROBLEM),
            part("x", started_at=at(2), ended_at=at(7), worker="v", problem=OTHER),
            part("f", progress={"fraction": 1.0}),
        ]
    )  # fmt: skip
    assert (job.started_at, job.ended_at, job.problem) == (at(1), at(9), PROBLEM)
    assert (job.worker, job.device, job.place, job.cancelling) == ("w", "cpu", None, False)
    assert job.progress.fraction == 0.625
    assert (job.progress.block, job.progress.tokens_per_second, job.progress.eta_seconds) == (
        None,
        None,
        None,
    )


def test_a_finished_job_is_done_to_the_last_bit() -> None:
    assert whole([part("f", progress={"fraction": 1.0})] * 7).progress.fraction == 1.0


def test_a_failed_part_is_told_while_others_go_on() -> None:
    job = whole([part("r"), part("x", ended_at=at(1), problem=PROBLEM)])
    assert (job.state, job.problem, job.ended_at) == (JobState.running, PROBLEM, None)


def test_a_waiting_job_has_no_worker() -> None:
    job = whole([part("f", worker="w", device="cpu", ended_at=at(1)), part("q", place=1)])
    assert (job.worker, job.device, job.place) == (None, None, 1)


def test_logs_are_merged_by_time() -> None:
    merged = merged_log(
        [
            ["2026-01-31 12:00:01 a1", "2026-01-31 12:00:03 a2", "  more of a2", "2026-01-31 12:00:05 a3"],
            ["2026-01-31 12:00:01 b1", "2026-01-31 12:00:03 b2", "2026-01-31 12:00:04 b3"],
            [],
        ]
    )
    assert merged == [
        "[1/3] 2026-01-31 12:00:01 a1",
        "[2/3] 2026-01-31 12:00:01 b1",
        "[1/3] 2026-01-31 12:00:03 a2",
        "[1/3]   more of a2",
        "[2/3] 2026-01-31 12:00:03 b2",
        "[2/3] 2026-01-31 12:00:04 b3",
        "[1/3] 2026-01-31 12:00:05 a3",
    ]


def test_a_merged_log_keeps_its_end() -> None:
    first = [f"2026-01-31 12:00:00 {n}" for n in range(LOG_LINES)]
    last = [f"2026-01-31 13:00:00 {n}" for n in range(10)]
    merged = merged_log([last, first])
    assert len(merged) == LOG_LINES
    assert merged[-11:] == [f"[2/2] {first[-1]}", *[f"[1/2] {line}" for line in last]]
