"""Several parts seen as one job. Pure: records in, a record out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from app.live import LOG_LINES
from app.schemas.job import Job, JobState, Progress

_STAMP = len("2026-01-31 12:00:01")


def joint_state(states: Sequence[JobState]) -> JobState:
    """The state of a job whose parts are in `states`.

    It runs from the first part's start until no part runs or waits any more; one that failed does not stop the others.
    """
    found = set(states)
    if found == {JobState.queued}:
        return JobState.queued
    if found & {JobState.running, JobState.queued}:
        return JobState.running
    for state in (JobState.failed, JobState.cancelled):
        if state in found:
            return state
    return JobState.finished


def whole(parts: Sequence[Job], blocks: Sequence[int] = ()) -> Job:
    """The job that consists of `parts`, one or more, each seen as if it were the whole.

    blocks: how many blocks each part works on, where that was known when the job was submitted.
    """
    if len(parts) == 1:
        return parts[0]
    state = joint_state([part.state for part in parts])
    running = [part for part in parts if part.state is JobState.running]
    seen = [part for part in parts if part.worker is not None] if state.final else running
    return parts[0].model_copy(
        update={
            "state": state,
            "progress": _progress(state, parts, blocks or [None] * len(parts)),
            "place": _of(min, (part.place for part in parts)),
            "worker": seen[0].worker if seen else None,
            "device": seen[0].device if seen else None,
            "tries": max(part.tries for part in parts),
            "cancelling": any(part.cancelling for part in parts) and not state.final,
            "started_at": _of(min, (part.started_at for part in parts)),
            "ended_at": _of(max, (part.ended_at for part in parts)) if state.final else None,
            "problem": next((part.problem for part in parts if part.problem is not None), None),
        }
    )


def merged_log(logs: Sequence[Sequence[str]]) -> list[str]:
    """The lines of all parts in the order of their times, each with its part's number, the last LOG_LINES of them.

    Lines of the same second stay together by part. A line without a time of its own belongs to the one before it.
    """
    lines = []
    for number, log in enumerate(logs, 1):
        time = ""
        for line in log:
            time = line[:_STAMP] if _stamped(line) else time
            lines.append((time, f"[{number}/{len(logs)}] {line}"))
    lines.sort(key=lambda entry: entry[0])
    return [line for _, line in lines][-LOG_LINES:]


def _progress(state: JobState, parts: Sequence[Job], asked: Sequence[int | None]) -> Progress:
    """Of all parts together: a part counts by its blocks, or as the others where those of one are not known."""
    shown = [part.progress for part in parts]
    # A part that was tried before has fewer blocks left than were asked for, and says so.
    blocks = [p.blocks if p.blocks is not None else count for p, count in zip(shown, asked, strict=True)]
    known = all(count is not None for count in blocks)
    weights = [float(count or 0) for count in blocks] if known and any(blocks) else [1.0] * len(parts)
    return Progress(
        phase=_phase(state, parts),
        fraction=min(1.0, sum(w * p.fraction for w, p in zip(weights, shown, strict=True)) / sum(weights)),
        block=_of(sum, (_blocks_done(part, count) for part, count in zip(parts, blocks, strict=True))),
        blocks=_of(sum, blocks),
        tokens_per_second=_of(sum, (progress.tokens_per_second for progress in shown)),
        eta_seconds=_eta(parts, weights),
    )


def _blocks_done(part: Job, blocks: int | None) -> int | None:
    return blocks if part.state is JobState.finished else part.progress.block


def _eta(parts: Sequence[Job], weights: Sequence[float]) -> float | None:
    """Until the last part ends: the longest of those that run, or where others wait for them, all that is left at the
    pace of those that run. None where none of them knows yet.
    """
    left = {
        number: weight * (1 - part.progress.fraction)
        for number, (part, weight) in enumerate(zip(parts, weights, strict=True))
        if not part.state.final
    }
    etas = {number: parts[number].progress.eta_seconds for number in left}
    paces = [left[number] / eta for number, eta in etas.items() if eta]
    if not paces or not sum(paces):
        return None
    return max(*(eta for eta in etas.values() if eta), sum(left.values()) / sum(paces))


def _phase(state: JobState, parts: Sequence[Job]) -> str:
    if state in {JobState.queued, JobState.finished}:
        return state.value
    alike = [part for part in parts if part.state is state]
    if alike:
        return f"{len(alike)} of {len(parts)} parts {state.value}: {alike[0].progress.phase}"
    ended = sum(part.state.final for part in parts)
    return f"{ended} of {len(parts)} parts ended, the others wait"


def _stamped(line: str) -> bool:
    return (
        len(line) >= _STAMP and line[4] == line[7] == "-" and line[10] == " " and line[13] == line[16] == ":"
    )


def _of(choose: Callable[[Any], Any], values: Iterable[Any]) -> Any:
    """`choose` among those that are known; None when none is."""
    known = [value for value in values if value is not None]
    return choose(known) if known else None
