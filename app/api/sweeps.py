"""Sweeps of a run's layers over sparsity and number of experts: submitted, listed, looked at, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app import catalog
from app.api import checks, variants
from app.api.deps import RunName, Service, ServiceDep, SweepName, WindowDep, accept, last_job, live_queue
from app.api.pace import pace
from app.api.problems import answers
from app.errors import NotFound, QueueUnavailable
from app.queue import Work
from app.schemas.model import Estimate
from app.schemas.page import Page
from app.schemas.sweep import Sweep, SweepRequest, SweepSubmitted, points_of, settings_of
from app.schemas.variant import Coverage
from app.store.sweeps import sweep_id
from app.store.variants import covered

router = APIRouter(prefix="/runs/{run}/sweeps", tags=["sweeps"])


@router.post(
    "",
    operation_id="submitSweep",
    status_code=202,
    responses={
        200: {"model": SweepSubmitted, "description": "The sweep was finished already."},
        **answers(404, 409, 422, 507),
    },
)
def submit(
    service: ServiceDep, run: RunName, request: SweepRequest, http: Request, response: Response
) -> SweepSubmitted:
    """Prune and expand one layer of a finished run at many sparsities, and with several numbers of experts, and compare
    every neuron's outputs with the dense ones at each: one job for all neurons of the layer. The same request names the
    same sweep: a finished one is answered at once (200), one under way is joined, an interrupted one goes on after its
    last point. `Location` is the job's address.
    """
    takes = _plan(service, run, request)
    store, sweep = service.store.sweeps, sweep_id(run, request)
    known = sweep in store.ids(run)
    if known and store.manifest(run, sweep) is not None:
        response.status_code = 200
        return SweepSubmitted(sweep=_one(service, run, sweep), job=None, estimate=takes)
    queue = live_queue(service)
    queue.require()  # before anything is written: a sweep that cannot be queued must not be listed
    store.create(run, request)
    try:
        first = (request.layer, request.projection)
        job = queue.submit(Work("sweep", run, sweep, request.title, ((run, sweep),), first=first))
    except QueueUnavailable:
        if not known:
            store.delete(run, sweep)
        raise
    accept(http, response, job)
    return SweepSubmitted(sweep=_one(service, run, sweep), job=job, estimate=takes)


@router.post("/estimate", operation_id="estimateSweep", responses=answers(404, 409, 422))
def estimate(service: ServiceDep, run: RunName, request: SweepRequest) -> Estimate:
    """What the points that are missing would take: memory, store, time. Nothing is written or queued."""
    return _plan(service, run, request)


@router.get("", operation_id="listSweeps", responses=answers(404, 422))
def sweeps(
    service: ServiceDep,
    run: RunName,
    window: WindowDep,
    layer: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Only sweeps of this block.", examples=[15])
    ] = None,
    projection: Annotated[
        str | None,
        Query(max_length=128, description="Only sweeps of this projection.", examples=["up_proj"]),
    ] = None,
) -> Page[Sweep]:
    """Sweeps of a run, the newest first."""
    found, working = service.store.sweeps.ids(run, layer, projection), variants.jobs(service, run)
    here = found[window.offset : window.offset + window.limit]
    items = [
        service.store.sweeps.get(run, name).model_copy(update={"job": working.get(name)}) for name in here
    ]
    return Page(items=items, total=len(found), limit=window.limit, offset=window.offset)


@router.get("/{sweep}", operation_id="getSweep", responses=answers(404, 422))
def one(service: ServiceDep, run: RunName, sweep: SweepName) -> Sweep:
    """One sweep as far as it has come; what became of the layer at each point once it is finished."""
    return _one(service, run, sweep)


@router.delete("/{sweep}", operation_id="deleteSweep", status_code=204, responses=answers(404, 409, 422))
def delete(service: ServiceDep, run: RunName, sweep: SweepName) -> None:
    """Remove a sweep and all that it stored. Cancel its job first."""
    service.store.sweeps.record(run, sweep)
    checks.idle(service, run, sweep)
    service.store.sweeps.delete(run, sweep)


def _plan(service: Service, run: str, request: SweepRequest) -> Estimate:
    """Refuse what cannot be carried out; what the rest takes. Raises NotFound, Conflict, InvalidRequest."""
    store = service.store
    facts, model = checks.finished(store, run), store.record(run).model
    covered(store, run, Coverage(layers=[request.layer], projections=[request.projection]))
    [projection] = [p for p in model.projections if p.name == request.projection]
    for settings in settings_of(request):
        checks.fits_widths(settings, [projection], facts.tokens)
    made = _made(service, run, request)
    points = settings_of(request)
    missing = [settings for number, settings in enumerate(points) if number not in made]
    if missing:
        checks.has_inputs(store, run, [request.layer])
    found = pace(service)
    return catalog.estimate_sweep(model, projection, missing, facts.tokens, service.settings, found)


def _made(service: Service, run: str, request: SweepRequest) -> set[int]:
    """Numbers of the points that need not be made."""
    sweep = sweep_id(run, request)
    try:
        service.store.sweeps.record(run, sweep)
    except NotFound:
        return set()
    if service.store.sweeps.manifest(run, sweep) is not None:
        return set(range(len(points_of(request))))
    return service.store.sweeps.done(run, sweep)


def _one(service: Service, run: str, sweep: str) -> Sweep:
    job = last_job(service, run, sweep)
    return service.store.sweeps.get(run, sweep).model_copy(update={"job": job.id if job else None})
