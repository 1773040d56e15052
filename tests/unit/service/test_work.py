"""Work and the facts of jobs: ids, refusals, and what comes back from Redis."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from app.live import job_of_part, part_names
from app.queue import Work, explore_work
from app.queue.facts import Facts
from app.queue.work import FUNCTIONS
from app.schemas.job import JOB_PATTERN
from app.schemas.run import RUN_PATTERN

RUN = "tiny-0123456789ab"
LONGEST = "r" * 51 + "-0123456789ab"


def work(**values: Any) -> Work:
    fields: dict[str, Any] = {"kind": "prune", "run": RUN, "subject": "p-0123456789ab", "title": "Prune"}
    fields |= {"parts": ((RUN, 1), (RUN, 2))} | values
    return Work(**fields)


@pytest.mark.parametrize(
    ("values", "job"),
    [
        ({}, f"prune-{RUN}-p-0123456789ab"),
        ({"key": "5"}, f"prune-{RUN}-p-0123456789ab-5"),
        ({"kind": "evaluate", "subject": "e-0123456789ab"}, f"evaluate-{RUN}-e-0123456789ab"),
        ({"kind": "export", "subject": None}, f"export-{RUN}"),
    ],
)
def test_ids(values: dict[str, Any], job: str) -> None:
    assert work(**values).job_id == job


def test_exploring_is_named_by_its_run() -> None:
    found = explore_work(RUN)
    assert (found.job_id, found.parts, found.function) == (
        f"explore-{RUN}",
        ((RUN,),),
        FUNCTIONS["explore"],
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "paint"}, "no kind of work"),
        ({"parts": ()}, "needs the run"),
        ({"parts": ((RUN, 1), ("other-run", 2))}, "needs the run"),
        ({"parts": ((RUN,), ())}, "needs the run"),
        ({"key": "a_b"}, "cannot be a job's id"),
        ({"key": "x" * 99}, "cannot be a job's id"),
    ],
)
def test_refusals(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        work(**values)


def test_the_longest_names_make_an_id() -> None:
    assert re.fullmatch(RUN_PATTERN, LONGEST)
    assert len(LONGEST) == 64
    for kind in FUNCTIONS:
        made = work(kind=kind, run=LONGEST, parts=((LONGEST,),), key="f" * 12)
        assert re.fullmatch(JOB_PATTERN, made.job_id)


def test_parts_are_named_apart_from_all_jobs() -> None:
    names = part_names("prune-a", 3)
    assert names == ["prune-a_1", "prune-a_2", "prune-a_3"]
    assert part_names("prune-a", 1) == ["prune-a"]
    assert {job_of_part(name) for name in [*names, "prune-a"]} == {"prune-a"}
    assert not any(re.fullmatch(JOB_PATTERN, name) for name in names)


@pytest.mark.parametrize("subject", ["p-0123456789ab", None])
def test_facts_come_back_as_they_were(subject: str | None) -> None:
    facts = Facts.of(work(subject=subject), datetime.now(UTC))
    assert Facts.read(facts.job, facts.fields()) == facts
    assert facts.names == [f"{facts.job}_1", f"{facts.job}_2"]
    assert Facts.read(facts.job, {}) is None
