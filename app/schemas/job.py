"""Jobs: work in the queue or under way."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from app.schemas.problem import Problem

JOB_PATTERN = r"^[a-z0-9][a-z0-9-]{3,127}$"


class JobState(StrEnum):
    """Where a job stands."""

    queued = "queued"
    running = "running"
    finished = "finished"
    failed = "failed"
    cancelled = "cancelled"
    """No process works on it any more: its device is free. Until then it is running, and `cancelling`."""

    @property
    def final(self) -> bool:
        """Whether the job will not change any more."""
        return self in {JobState.finished, JobState.failed, JobState.cancelled}


class Progress(BaseModel):
    """How far a job has come."""

    phase: str = Field(
        "queued", description="What is being done, in words.", examples=["scoring block 7 of 30"]
    )
    fraction: float = Field(0.0, ge=0, le=1, description="Share of the work that is done.", examples=[0.23])
    block: int | None = Field(None, description="Blocks finished, of all parts.", examples=[7])
    blocks: int | None = Field(
        None, description="Blocks in all, those of parts that wait included.", examples=[30]
    )
    tokens_per_second: float | None = Field(
        None, description="Tokens through a block per second.", examples=[5200.0]
    )
    eta_seconds: float | None = Field(
        None, description="Time left until the last part ends, by the pace so far.", examples=[48.0]
    )


class Job(BaseModel):
    """One piece of work."""

    id: str = Field(
        examples=["explore-smollm2-135m-instruct-4f1c2a9be0d7"],
        description="Follows from what is asked for: the same work is one job.",
    )
    kind: str = Field(examples=["explore"], description="Kind of work.")
    state: JobState = Field(description="Where it stands; `cancelled` once no process works on it any more.")
    run: str = Field(description="The run it works on.", examples=["smollm2-135m-instruct-4f1c2a9be0d7"])
    subject: str | None = Field(
        None,
        description="The pruning, expansion, evaluation or sweep of that run which it makes; null for the run itself.",
        examples=["p-4f1c2a9be0d7"],
    )
    title: str = Field(
        "", description="What it does, in words.", examples=["SparseGPT 90 %: block 15 up_proj"]
    )
    parts: int = Field(
        1, description="Independent parts it is split into, each done by one worker at a time.", examples=[2]
    )
    layer: int | None = Field(
        None,
        description="Block of the first layer it works on, where that is not the whole model; else null.",
        examples=[15],
    )
    projection: str | None = Field(None, description="That layer's projection.", examples=["up_proj"])
    progress: Progress = Field(Progress(), description="How far it has come.")
    place: int | None = Field(None, description="Place in the queue, from 1, while queued.", examples=[1])
    worker: str | None = Field(None, description="The worker that has it.", examples=["gpu-host-4711-9f3a"])
    device: str | None = Field(None, description="That worker's device.", examples=["cpu"])
    tries: int = Field(0, description="How often it was started.", examples=[1])
    cancelling: bool = Field(
        False,
        description="Cancel was asked for and a process still works on it; once all have ended the state is "
        "`cancelled`, and the device is free.",
        examples=[False],
    )
    created_at: datetime | None = Field(
        None, description="When it was submitted, UTC.", examples=["2026-01-31T12:00:00Z"]
    )
    started_at: datetime | None = Field(
        None, description="When a worker took it, UTC.", examples=["2026-01-31T12:00:01Z"]
    )
    ended_at: datetime | None = Field(
        None, description="When it ended, UTC.", examples=["2026-01-31T12:01:02Z"]
    )
    problem: Problem | None = Field(None, description="Why it failed.")


class JobLog(BaseModel):
    """What a job wrote."""

    job: str = Field(description="The job's id.", examples=["explore-smollm2-135m-instruct-4f1c2a9be0d7"])
    lines: list[str] = Field(
        description="The lines, the oldest first, each with its time (UTC).",
        examples=[["2026-01-31 12:00:01 loading SmolLM2-135M-Instruct"]],
    )
    total: int = Field(description="Lines written in all; older ones may have been dropped.", examples=[34])
