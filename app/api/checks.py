"""What is refused before anything is written or queued, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd

from app.api.deps import Service
from app.errors import Conflict, InvalidRequest, NotFound
from app.queue import JobQueue
from app.schemas.expansion import ExpansionSettings
from app.schemas.job import Job
from app.schemas.model import Projection
from app.schemas.pruning import PruningSettings
from app.schemas.variant import Coverage, VariantKind
from app.store import Store, keys
from app.store.manifest import RunFacts

INPUTS = "inputs.safetensors"
"""A block's inputs, in its folder of the run."""


def finished(store: Store, run: str) -> RunFacts:
    """What is known of a finished run. Raises NotFound, and Conflict while it is not finished."""
    record, manifest = store.record(run), store.manifest(run)
    if manifest is None:
        done = len(store.blocks_done(run))
        raise Conflict(
            f"Run '{run}' is not finished: {done} of {record.model.blocks} blocks are scored.",
            hint="Wait for its job, or submit the run again to go on; then ask again.",
        )
    return manifest.facts


def whole_if_propagated(settings: PruningSettings | ExpansionSettings, coverage: Coverage) -> None:
    """Raise InvalidRequest for some layers of what is made of the whole model in sequence."""
    named = [
        name
        for name, value in (("layers", coverage.layers), ("projections", coverage.projections))
        if value is not None
    ]
    if settings.propagate and named:
        raise InvalidRequest(
            f"propagate goes through the whole model in sequence, and {' and '.join(named)} name a part of it.",
            hint=f"Leave out {' and '.join(named)}, or set propagate to false: each layer is then calibrated on the "
            "dense model's inputs.",
        ).at("body.propagate")


def fits_widths(
    settings: PruningSettings | ExpansionSettings, covered: Sequence[Projection], tokens: int
) -> None:
    """Raise InvalidRequest when the settings do not fit the layers' widths or the run's tokens."""
    _divides(settings.zeros_in_group, covered)
    if not isinstance(settings, ExpansionSettings):
        return
    if settings.experts > tokens:
        raise InvalidRequest(
            f"{settings.experts:,} experts were asked for and the run has {tokens:,} tokens: an expert needs at least "
            "one.",
            hint=f"Set experts to {tokens:,} or less; 16 is usual. Or explore more tokens.",
        ).at("body.experts")
    narrowest = min(covered, key=lambda projection: projection.in_features)
    if settings.reduction > narrowest.in_features:
        raise InvalidRequest(
            f"A reduction by {settings.reduction:,} leaves nothing of the inputs of {narrowest.name}, which are "
            f"{narrowest.in_features:,} wide.",
            hint=f"Set reduction to {narrowest.in_features:,} or less; 32 is usual.",
        ).at("body.reduction")


def _divides(pattern: tuple[int, int] | None, covered: Sequence[Projection]) -> None:
    """Raise InvalidRequest unless M of N:M divides the width of every layer."""
    if pattern is None:
        return
    group = pattern[1]
    unfit = [projection for projection in covered if projection.in_features % group]
    if not unfit:
        return
    shared = gcd(*(projection.in_features for projection in covered))
    usable = _divisors(shared) - {1} or {1}  # groups of one weight are no choice
    nearest = min(usable, key=lambda divisor: (abs(divisor - group), divisor))
    widths = _words(f"{width:,}" for width in sorted({p.in_features for p in covered}))
    raise InvalidRequest(
        f"The rows of {unfit[0].name}, {unfit[0].in_features:,} weights each, do not fall into groups of {group:,}.",
        hint=f"The nearest M of N:M that divides {widths} is {nearest:,}.",
    ).at("body.pattern")


def _divisors(number: int) -> set[int]:
    small = [divisor for divisor in range(1, int(number**0.5) + 1) if number % divisor == 0]
    return {*small, *(number // divisor for divisor in small)}


def has_inputs(store: Store, run: str, blocks: Iterable[int]) -> None:
    """Raise Conflict when the stored inputs of one of `blocks` were deleted."""
    gone = [block for block in blocks if not store.files.exists(keys.block(run, block, INPUTS))]
    if gone:
        which = f"block {gone[0]}" if len(gone) == 1 else f"blocks {_words(map(str, gone))}"
        raise Conflict(
            f"The stored inputs of {which} of run '{run}' were deleted; prunings and expansions start from them.",
            hint="Delete the run and submit its request again: that stores them anew. Or name other layers.",
        )


def idle(service: Service, run: str, subject: str) -> None:
    """Raise Conflict while a job makes a pruning, expansion, evaluation or sweep, or exports or evaluates it.

    Without Redis nobody can say: QueueUnavailable, not a guess.
    """
    for job in _at_work(service.queue, run):
        if job.subject == subject or subject in _evaluated(service.store, job):
            raise busy(job, subject)


def unchanging(service: Service, run: str, variant: str) -> None:
    """Raise Conflict while a job adds layers to a variant."""
    for job in _at_work(service.queue, run):
        if job.subject == variant and job.kind in ("prune", "expand"):
            raise busy(job, variant)


def idle_run(service: Service, run: str) -> None:
    """Raise Conflict while a job works on a run, or on anything made from it.

    A finished run from which nothing was made can have no job. Of any other nobody can say without Redis:
    QueueUnavailable, not a guess.
    """
    store = service.store
    variants = [variant for kind in VariantKind for variant in store.variants.ids(run, kind)]
    made = [
        *variants,
        *store.evaluations.all(run),
        *store.outputs.asked(run),
        *store.sweeps.ids(run),
    ]
    if store.manifest(run) is not None and not made:
        return
    for job in _at_work(service.queue, run):
        raise busy(job, run)


def repeatable(service: Service, job: Job) -> None:
    """Raise NotFound when what a job worked on was deleted, Conflict while another one stands in its way."""
    service.store.record(job.run)
    if job.kind == "evaluate":
        service.store.evaluations.get(job.run, job.subject or "")
    elif job.kind == "sweep":
        service.store.sweeps.record(job.run, job.subject or "")
    elif job.subject is not None:
        service.store.variants.record(job.run, job.subject)
    if job.kind == "export":
        for other in _at_work(service.queue, job.run):
            if other.subject == job.subject and other.id != job.id:
                raise busy(other, job.subject or "")


def busy(job: Job, what: str) -> Conflict:
    """The refusal to touch what a job works on."""
    return Conflict(
        f"Job '{job.id}' is at work on '{what}'.",
        hint=f"Wait for it, or POST /api/v1/jobs/{job.id}/cancel first.",
    )


def _at_work(queue: JobQueue | None, run: str) -> list[Job]:
    return [job for job in queue.jobs_of(run) if not job.state.final] if queue is not None else []


def _evaluated(store: Store, job: Job) -> list[str]:
    """The variants that an evaluation's job is about."""
    if job.kind != "evaluate" or job.subject is None:
        return []
    try:
        return store.evaluations.get(job.run, job.subject).request.variants
    except NotFound:  # deleted meanwhile
        return []


def _words(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; the first of many."""
    found = list(items)
    if len(found) > 6:
        found = [*found[:5], f"{len(found) - 5} more"]
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
