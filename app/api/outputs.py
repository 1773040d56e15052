"""Every token's output of a layer: stored when asked for, then tokens by range, pairs, and an interval for WD."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api import checks
from app.api.deps import (
    ExpansionQuery,
    LayerNumber,
    NeuronIndex,
    ProjectionName,
    RunName,
    Service,
    ServiceDep,
    SettingsDep,
    StoreDep,
    WindowDep,
    accept,
    check_limit,
    live_queue,
)
from app.api.problems import answers
from app.errors import NotFound, QueueUnavailable
from app.queue import outputs_work
from app.schemas.job import Job
from app.schemas.outputs import (
    LayerOutputs,
    NeuronOutputs,
    NeuronPairs,
    OutputsQuery,
    OutputsSubmitted,
    WdInterval,
)
from app.schemas.page import Page
from app.schemas.variant import Coverage
from app.store.variants import covered

router = APIRouter(prefix="/runs/{run}", tags=["outputs"])
LAYER = "/layers/{layer}/{projection}"
NEURON = f"{LAYER}/neurons/{{index}}"


@router.post(
    f"{LAYER}/outputs",
    operation_id="storeOutputs",
    status_code=202,
    responses={
        200: {"model": OutputsSubmitted, "description": "The outputs were stored already."},
        **answers(404, 409, 422, 507),
    },
)
def store_outputs(
    service: ServiceDep,
    run: RunName,
    layer: LayerNumber,
    projection: ProjectionName,
    http: Request,
    response: Response,
) -> OutputsSubmitted:
    """Store what every neuron of a layer answers to every token of a finished run. A run keeps histograms and extreme
    tokens only; this takes seconds and four bytes a neuron and token, until it is deleted. Asked for twice it is one job;
    outputs that are there are answered at once (200). `Location` is the job's address.
    """
    store = service.store
    checks.finished(store, run)
    _known(service, run, layer, projection)
    if store.outputs.manifest(run, layer, projection) is not None:
        accept(http, response, None)
        return OutputsSubmitted(outputs=_state(service, run, layer, projection), job=None)
    checks.has_inputs(store, run, [layer])
    queue = live_queue(service)
    queue.require()  # before anything is written
    new = store.outputs.create(run, layer, projection)
    try:
        job = queue.submit(outputs_work(run, layer, projection))
    except QueueUnavailable:
        if new:
            store.outputs.delete(run, layer, projection)
        raise
    accept(http, response, job)
    return OutputsSubmitted(outputs=store.outputs.state(run, layer, projection), job=job)


@router.get(f"{LAYER}/outputs", operation_id="getOutputs", responses=answers(404, 422))
def outputs(
    service: ServiceDep, run: RunName, layer: LayerNumber, projection: ProjectionName
) -> LayerOutputs:
    """Whether a layer's outputs are stored, what they take or would take, and the job at work on them."""
    _known(service, run, layer, projection)
    return _state(service, run, layer, projection)


@router.delete(
    f"{LAYER}/outputs", operation_id="deleteOutputs", status_code=204, responses=answers(404, 409, 422)
)
def delete_outputs(service: ServiceDep, run: RunName, layer: LayerNumber, projection: ProjectionName) -> None:
    """Remove a layer's stored outputs. Scores, histograms and whatever was made from the run stay. Cancel its job first."""
    _known(service, run, layer, projection)
    if (layer, projection) not in service.store.outputs.asked(run):
        raise NotFound(
            f"The outputs of {projection} of block {layer} are not stored.",
            hint=f"GET /api/v1/runs/{run}/outputs lists what is.",
        )
    if service.queue is not None:
        job = _job(service, run, layer, projection, strict=True)
        if job is not None and not job.state.final:
            raise checks.busy(job, f"the outputs of {projection} of block {layer}")
    service.store.outputs.delete(run, layer, projection)


@router.get("/outputs", operation_id="listOutputs", responses=answers(404, 422))
def stored_outputs(store: StoreDep, run: RunName, window: WindowDep) -> Page[LayerOutputs]:
    """The layers of a run whose outputs are stored, and what they take."""
    store.record(run)
    found = [place for place in store.outputs.asked(run) if store.outputs.manifest(run, *place) is not None]
    here = found[window.offset : window.offset + window.limit]
    items = [store.outputs.state(run, *place) for place in here]
    return Page(items=items, total=len(found), limit=window.limit, offset=window.offset)


@router.get(f"{NEURON}/tokens", operation_id="listTokens", responses=answers(404, 409, 422))
def tokens(
    store: StoreDep,
    settings: SettingsDep,
    run: RunName,
    layer: LayerNumber,
    projection: ProjectionName,
    index: NeuronIndex,
    query: Annotated[OutputsQuery, Query()],
) -> NeuronOutputs:
    """The tokens to which a neuron's output lies in a range, or in a band of quantiles, each in its text and with its
    expert where an expansion is named. Needs the layer's outputs stored (409 otherwise).
    """
    check_limit(query.limit, settings)
    return store.neuron_tokens(run, layer, projection, index, query)


@router.get(f"{NEURON}/pairs", operation_id="getPairs", responses=answers(404, 409, 422))
def pairs(
    store: StoreDep,
    run: RunName,
    layer: LayerNumber,
    projection: ProjectionName,
    index: NeuronIndex,
    points: Annotated[
        int,
        Query(ge=0, le=5000, description="Pairs for a scatter, drawn with the run's seed.", examples=[1000]),
    ] = 1000,
    hardest: Annotated[
        int, Query(ge=0, le=50, description="Hardest pairs, with their texts.", examples=[8])
    ] = 8,
    expansion: ExpansionQuery = None,
) -> NeuronPairs:
    """The pairs of tokens behind a neuron's mapping difficulty: distances of inputs and outputs, and those that add most,
    as text. Needs the layer's outputs stored (409 otherwise).
    """
    return store.neuron_pairs(run, layer, projection, index, points, hardest, expansion)


@router.get(f"{NEURON}/wd-interval", operation_id="getWdInterval", responses=answers(404, 409, 422))
def wd_interval(
    store: StoreDep,
    run: RunName,
    layer: LayerNumber,
    projection: ProjectionName,
    index: NeuronIndex,
    confidence: Annotated[
        float, Query(ge=0.5, le=0.999, description="Level of the interval.", examples=[0.95])
    ] = 0.95,
    resamples: Annotated[
        int | None,
        Query(
            ge=100,
            le=10_000,
            description="Draws; 1,000 when not given, fewer for texts of more than 65,536 tokens.",
            examples=[1000],
        ),
    ] = None,
) -> WdInterval:
    """A bootstrap interval for a neuron's WD: whole windows are drawn anew with the run's seed. Needs the layer's outputs
    stored (409 otherwise).
    """
    return store.wd_interval(run, layer, projection, index, confidence, resamples)


def _known(service: Service, run: str, layer: int, projection: str) -> None:
    """Raise NotFound for a layer that the model does not have."""
    covered(service.store, run, Coverage(layers=[layer], projections=[projection]))


def _state(service: Service, run: str, layer: int, projection: str) -> LayerOutputs:
    found = service.store.outputs.state(run, layer, projection)
    return found.model_copy(update={"job": _job(service, run, layer, projection)})


def _job(service: Service, run: str, layer: int, projection: str, *, strict: bool = False) -> Job | None:
    """The layer's job, at work or ended; None when there is none. strict: raise when Redis does not answer."""
    try:
        name = outputs_work(run, layer, projection).job_id
        return service.queue.get(name) if service.queue is not None else None
    except NotFound:
        return None
    except QueueUnavailable:
        if strict:
            raise
        return None
