"""Work: what is put into the queue, and which function does it.

Functions are dotted names: the service never imports a worker.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal

from app.schemas.job import JOB_PATTERN

Kind = Literal["explore", "prune", "expand", "evaluate", "export", "outputs", "sweep"]

FUNCTIONS: dict[Kind, str] = {
    "explore": "worker.jobs.explore.explore",
    "prune": "worker.jobs.variant_jobs.prune",
    "expand": "worker.jobs.variant_jobs.expand",
    "evaluate": "worker.jobs.evaluate.evaluate",
    "export": "worker.jobs.export.export",
    "outputs": "worker.jobs.outputs.outputs",
    "sweep": "worker.jobs.sweep.sweep",
}
"""Dotted name of each kind's function."""


@dataclass(frozen=True)
class Work:
    """One job to be: its kind, what it works on, and its independent parts.

    Raises ValueError when a field is not what it should be.
    """

    kind: Kind
    run: str
    subject: str | None  # the pruning, expansion, evaluation or sweep that it makes; None for the run itself
    title: str  # what it does, in words
    parts: tuple[tuple[Any, ...], ...]  # one a part: the function's arguments, JSON-able, the run first
    key: str = ""  # tells jobs of one kind and subject apart
    blocks: tuple[
        int, ...
    ] = ()  # one a part: the blocks it works on; empty where nobody knows before it starts
    first: tuple[int, str] | None = (
        None  # the first layer it makes: block and projection; None for all of the model
    )

    def __post_init__(self) -> None:
        if self.kind not in FUNCTIONS:
            raise ValueError(f"{self.kind!r} is no kind of work; there are {', '.join(FUNCTIONS)}")
        if not self.parts or any(not part or part[0] != self.run for part in self.parts):
            raise ValueError(f"every part of {self.job_id} needs the run as its first argument")
        if self.blocks and len(self.blocks) != len(self.parts):
            raise ValueError(f"{self.job_id} has {len(self.parts)} parts, not {len(self.blocks)}")
        if not re.fullmatch(JOB_PATTERN, self.job_id):
            raise ValueError(f"{self.job_id!r} cannot be a job's id")

    @property
    def job_id(self) -> str:
        """Follows from what is asked for: the same work is one job."""
        return "-".join(name for name in (self.kind, self.run, self.subject, self.key) if name)

    @property
    def function(self) -> str:
        """Dotted name of the function that does a part."""
        return FUNCTIONS[self.kind]


def explore_work(run: str) -> Work:
    """The exploration of `run`."""
    return Work("explore", run, None, "Explore every neuron", ((run,),))


def outputs_work(run: str, layer: int, projection: str) -> Work:
    """The storing of every token's output of one layer of `run`."""
    key = f"{layer}-{hashlib.sha256(projection.encode()).hexdigest()[:6]}"  # names of projections have underscores
    title = f"Store the outputs of block {layer} {projection}"
    return Work("outputs", run, None, title, ((run, layer, projection),), key, first=(layer, projection))
