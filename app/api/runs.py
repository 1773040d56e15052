"""Runs: submitted, listed, looked at, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app import catalog
from app.api import checks
from app.api.corpora import corpus_of
from app.api.deps import (
    ExpansionQuery,
    LayerNumber,
    ProjectionName,
    PruningQuery,
    RunName,
    ServiceDep,
    SettingsDep,
    StoreDep,
    WindowDep,
    accept,
    check_limit,
    last_job,
    live_queue,
)
from app.api.models import check_tokens, check_window
from app.api.problems import answers
from app.errors import NotFound, QueueUnavailable, about
from app.queue import explore_work
from app.schemas.difference import DifferenceQuery, NeuronDifference
from app.schemas.job import Job, JobState
from app.schemas.layer import Correlation, LayerSummary, LayerValues, MapQuery, Metric, RunMap
from app.schemas.model import ModelInspection
from app.schemas.page import Page
from app.schemas.run import Run, RunModel, RunRequest, RunState, RunSubmitted
from app.store import Store, keys

router = APIRouter(prefix="/runs", tags=["runs"])

_OF_JOB = {
    JobState.queued: RunState.queued,
    JobState.running: RunState.running,
    JobState.failed: RunState.failed,
    JobState.cancelled: RunState.cancelled,
}


@router.post(
    "",
    operation_id="submitRun",
    status_code=202,
    responses={
        200: {"model": RunSubmitted, "description": "The run was finished already."},
        **answers(404, 413, 422, 502, 507),
    },
)
def submit(service: ServiceDep, request: RunRequest, http: Request, response: Response) -> RunSubmitted:
    """Start a run. The same request names the same run: a finished one is answered at once (200), one under way is
    joined, an interrupted one goes on where it stopped. `Location` is the job's address.
    """
    check_tokens(service, request.tokens)
    with about("body.model"):
        inspection = catalog.inspect_model(catalog.resolve(request.model, service.settings))
    check_window(inspection, request.window)
    with about("body.corpus"):
        title, fingerprint = corpus_of(service, request.corpus, request.tokens)
    run = keys.run_id(request, inspection.title, inspection.fingerprint, fingerprint)
    if service.store.manifest(run) is not None:
        response.status_code = 200
        return RunSubmitted(run=with_job(service.store.run(run), last_job(service, run)), job=None)
    queue = live_queue(service)
    queue.require()  # before anything is written: a run that cannot be queued must not be listed
    known = _is_known(service.store, run)
    service.store.create_run(request, _model(inspection), title, fingerprint)
    try:
        job = queue.submit(explore_work(run))
    except QueueUnavailable:
        if not known:
            service.store.delete_run(run)
        raise
    accept(http, response, job)
    return RunSubmitted(run=with_job(service.store.run(run), job), job=job)


@router.get("", operation_id="listRuns", responses=answers(422))
def runs(service: ServiceDep, window: WindowDep) -> Page[Run]:
    """All runs, the newest first."""
    page = service.store.runs(window.limit, window.offset)
    items = [with_job(run, last_job(service, run.id)) for run in page.items]
    return page.model_copy(update={"items": items})


@router.get("/{run}", operation_id="getRun", responses=answers(404, 422))
def one(service: ServiceDep, run: RunName) -> Run:
    """One run and where it stands."""
    return with_job(service.store.run(run), last_job(service, run))


@router.delete("/{run}", operation_id="deleteRun", status_code=204, responses=answers(404, 409, 422))
def delete(service: ServiceDep, run: RunName) -> None:
    """Remove a run and all that it stored, its prunings, expansions, evaluations and sweeps too. Cancel its jobs first."""
    service.store.record(run)
    checks.idle_run(service, run)
    service.store.delete_run(run)


@router.get("/{run}/layers", operation_id="listLayers", responses=answers(404, 409, 422))
def layers(
    store: StoreDep,
    run: RunName,
    min_wd: Annotated[
        float | None,
        Query(
            allow_inf_nan=False,
            description="Count in `at_least` the neurons of at least this WD.",
            examples=[0.1],
        ),
    ] = None,
) -> Page[LayerSummary]:
    """A summary of every layer that is finished: quantiles of WD, threshold, counts."""
    found = store.layers(run, min_wd)
    return Page(items=found, total=len(found), limit=len(found), offset=0)


@router.get("/{run}/layers/{layer}/{projection}", operation_id="getLayer", responses=answers(404, 409, 422))
def layer(
    store: StoreDep,
    run: RunName,
    layer: LayerNumber,
    projection: ProjectionName,
    metrics: Annotated[
        list[Metric] | None,
        Query(description="Metrics to answer with; WD when none is named.", examples=[["wd", "md"]]),
    ] = None,
    pruning: PruningQuery = None,
    expansion: ExpansionQuery = None,
) -> LayerValues:
    """Metrics of all neurons of one layer, in the order of their index: what its heatmap draws. Metrics of a pruning
    or an expansion need it named; RI needs both.
    """
    return store.layer_values(run, layer, projection, metrics or [Metric.wd], [pruning, expansion])


@router.get(
    "/{run}/layers/{layer}/{projection}/correlation",
    operation_id="getCorrelation",
    responses=answers(404, 409, 422),
)
def correlation(
    store: StoreDep,
    run: RunName,
    layer: LayerNumber,
    projection: ProjectionName,
    x: Annotated[Metric, Query(description="One metric.")] = Metric.wd,
    y: Annotated[Metric, Query(description="The other.")] = Metric.md,
    pruning: PruningQuery = None,
    expansion: ExpansionQuery = None,
) -> Correlation:
    """How two metrics of a layer's neurons go together: Pearson's and Spearman's correlation, and over how many
    neurons. Metrics of a pruning or an expansion need it named; RI needs both.
    """
    return store.correlation(run, layer, projection, (x, y), [pruning, expansion])


@router.get("/{run}/map", operation_id="getMap", responses=answers(404, 409, 422))
def run_map(store: StoreDep, run: RunName, query: Annotated[MapQuery, Query()]) -> RunMap:
    """The overview of a run, or a part of it: one row per layer, its neurons ranked by the metric and binned by rank.
    Metrics of a pruning or an expansion need it named; RI needs both. At most 100,000 cells come at once; a part is
    binned anew, so that a small one has a cell per neuron.
    """
    return store.run_map(run, query)


@router.get("/{run}/differences", operation_id="listDifferences", responses=answers(404, 409, 422))
def differences(
    store: StoreDep, settings: SettingsDep, run: RunName, query: Annotated[DifferenceQuery, Query()]
) -> Page[NeuronDifference]:
    """This run against another one with the same layers, neuron by neuron: WD and rank within the layer in both; those
    that moved the most places first, unless asked otherwise.
    """
    check_limit(query.limit, settings)
    return store.differences.page(run, query)


def with_job(run: Run, job: Job | None) -> Run:
    """The run with what its job adds: a finished run stays finished, whatever became of the job."""
    state = run.state if run.state is RunState.finished or job is None else _OF_JOB.get(job.state, run.state)
    return run.model_copy(update={"state": state, "job": job.id if job else run.job})


def _is_known(store: Store, run: str) -> bool:
    try:
        store.record(run)
    except NotFound:
        return False
    return True


def _model(found: ModelInspection) -> RunModel:
    return RunModel(**found.model_dump(include=set(RunModel.model_fields)))
