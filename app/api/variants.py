"""What prunings and expansions have in common: what of a request is missing, who makes it, what it takes.

A request is planned first: everything that can be refused is refused before anything is written or queued.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from app import catalog
from app.api import checks
from app.api.deps import Service, Window, last_job, live_queue
from app.api.pace import pace
from app.errors import Conflict, NotFound, QueueUnavailable
from app.queue import Work
from app.schemas.expansion import Expansion, ExpansionRequest, ExpansionSettings
from app.schemas.job import Job
from app.schemas.model import Estimate
from app.schemas.page import Page
from app.schemas.pruning import Pruning, PruningRequest, PruningSettings
from app.schemas.run import RunModel
from app.schemas.variant import Coverage, VariantKind
from app.store import Store
from app.store.variants import covered, variant_id

Made = TypeVar("Made", Pruning, Expansion)


@dataclass(frozen=True)
class Plan:
    """A request that can be carried out."""

    run: str
    variant: str
    settings: PruningSettings | ExpansionSettings
    model: RunModel
    tokens: int
    wanted: Mapping[int, Sequence[str]]
    """What was asked for: projections by block."""
    missing: Mapping[int, Sequence[str]]
    """What of it is not done."""
    known: bool
    """Whether the variant has been asked for before."""

    @property
    def whole(self) -> bool:
        """Whether the whole model was asked for."""
        return sum(map(len, self.wanted.values())) == self.model.blocks * len(self.model.projections)

    @property
    def title(self) -> str:
        """In words: settings and layers."""
        blocks, names = sorted(self.wanted), next(iter(self.wanted.values()))
        chosen = [] if len(names) == len(self.model.projections) else [" and ".join(names)]
        return " ".join([f"{self.settings.title}: {_blocks(blocks)}", *chosen])

    def work(self, workers: int) -> Work:
        """What is missing, dealt to as many parts as there are workers. The same request is the same job."""
        kind = "prune" if isinstance(self.settings, PruningSettings) else "expand"
        parts: list[dict[str, list[str]] | None] = [None]
        if not self.settings.propagate:
            blocks = sorted(self.missing)
            count = self.parts(workers)
            parts = [
                {str(block): list(self.missing[block]) for block in blocks[first::count]}
                for first in range(count)
            ]
        return Work(
            kind=kind,  # type: ignore[arg-type]
            run=self.run,
            subject=self.variant,
            title=self.title,
            parts=tuple((self.run, self.variant, part) for part in parts),
            key="" if self.whole else _digest(self.wanted),
            blocks=tuple(len(self.missing if part is None else part) for part in parts),
            first=None if self.whole else (min(self.wanted), self.wanted[min(self.wanted)][0]),
        )

    def parts(self, workers: int) -> int:
        """How many independent parts there are: blocks in sequence are one."""
        return 1 if self.settings.propagate else max(1, min(len(self.missing), workers))


def plan(store: Store, run: str, request: PruningRequest | ExpansionRequest) -> Plan:
    """What a request means. Raises NotFound, Conflict and InvalidRequest for what cannot be carried out."""
    facts, model = checks.finished(store, run), store.record(run).model
    settings, coverage = request.settings, request.coverage
    checks.whole_if_propagated(settings, coverage)
    names = covered(store, run, coverage)
    order = [p for p in model.projections if p.name in next(iter(names.values()))]
    checks.fits_widths(settings, order, facts.tokens)
    wanted = {block: [p.name for p in order] for block in sorted(names)}
    variant = variant_id(run, settings)
    missing, known = _missing(store, run, variant, coverage, wanted)
    if settings.compare or not settings.propagate:  # in sequence, only comparing needs what the run stored
        checks.has_inputs(store, run, missing)
    return Plan(run, variant, settings, model, facts.tokens, wanted, missing, known)


def estimate(service: Service, plan: Plan) -> Estimate:
    """What the layers that are missing take on the live workers."""
    found = pace(service)
    return catalog.estimate_variant(
        plan.model,
        plan.settings,
        plan.missing,
        plan.tokens,
        service.settings,
        found,
        plan.parts(found.workers),
    )


def submit(service: Service, plan: Plan) -> Job | None:
    """Queue what is missing; None when nothing is. A variant that cannot be queued is not left behind."""
    if not plan.missing:
        return None
    queue = live_queue(service)
    queue.require()  # before anything is written: a variant that cannot be queued must not be listed
    workers = len(queue.workers())
    variants = service.store.variants
    variants.create(plan.run, plan.settings)
    try:
        return queue.submit(plan.work(workers))
    except QueueUnavailable:
        if not plan.known and not variants.done(plan.run, plan.variant):
            variants.delete(plan.run, plan.variant)
        raise


def page(
    service: Service, run: str, kind: VariantKind, window: Window, make: Callable[[str, str], Made]
) -> Page[Made]:
    """Prunings or expansions of a run, the newest first, each with its job."""
    found, working = service.store.variants.ids(run, kind), jobs(service, run)
    here = found[window.offset : window.offset + window.limit]
    items = [make(run, name).model_copy(update={"job": working.get(name)}) for name in here]
    return Page(items=items, total=len(found), limit=window.limit, offset=window.offset)


def jobs(service: Service, run: str) -> dict[str, str]:
    """The job of each pruning, expansion and evaluation of a run: the one at work, else the last one.

    Empty when Redis does not answer (see GET /health).
    """
    try:
        found = service.queue.jobs_of(run) if service.queue is not None else []
    except QueueUnavailable:
        return {}
    last: dict[str, Job] = {}
    for job in found:  # the newest first
        if job.subject is not None and (
            job.subject not in last or last[job.subject].state.final > job.state.final
        ):
            last[job.subject] = job
    return {subject: job.id for subject, job in last.items()}


def with_job(service: Service, made: Made) -> Made:
    """A pruning or expansion with the job that works on it, or did last."""
    job = last_job(service, made.run, made.id)
    return made.model_copy(update={"job": job.id if job else None})


def delete(service: Service, run: str, variant: str) -> None:
    """Remove a variant that no job works on. Raises NotFound, Conflict."""
    service.store.variants.record(run, variant)
    checks.idle(service, run, variant)
    service.store.variants.delete(run, variant)


def export(service: Service, run: str, variant: str) -> Job:
    """Queue the export of a variant as far as it has come; joins the export under way. Raises NotFound, Conflict."""
    variants = service.store.variants
    title = variants.record(run, variant).settings.title
    variants.export_path(run, variant)
    if not variants.done(run, variant):
        raise Conflict(
            f"No layer of '{variant}' is done yet: its model would be the dense one.",
            hint="Wait for its job, or submit it again to go on; then export it.",
        )
    queue = live_queue(service)
    work = Work("export", run, variant, f"Export {title}", ((run, variant),))
    for job in queue.jobs_of(run, variant):
        if not job.state.final and job.id != work.job_id:
            raise checks.busy(job, variant)
    return queue.submit(work)


def _missing(
    store: Store, run: str, variant: str, coverage: Coverage, wanted: Mapping[int, Sequence[str]]
) -> tuple[Mapping[int, Sequence[str]], bool]:
    """What is not done, and whether the variant has a record."""
    try:
        return store.variants.missing(run, variant, coverage), True
    except NotFound:
        return wanted, False


def _digest(layers: Mapping[int, Sequence[str]]) -> str:
    canonical = json.dumps({str(block): list(names) for block, names in layers.items()}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:6]


def _blocks(numbers: Sequence[int]) -> str:
    """`block 15`, `blocks 0-29`, `blocks 1, 3, 5-7`; the first of many."""
    if len(numbers) == 1:
        return f"block {numbers[0]}"
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    words = [str(first) if first == last else f"{first}-{last}" for first, last in spans]
    return f"blocks {', '.join(words if len(words) <= 6 else [*words[:5], '...'])}"
