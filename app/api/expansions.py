"""Expansions of a run: submitted, listed, looked at, exported, deleted; what goes to each expert."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api import variants
from app.api.deps import (
    ExpansionName,
    LayerNumber,
    ProjectionName,
    RunName,
    Service,
    ServiceDep,
    StoreDep,
    WindowDep,
    accept,
)
from app.api.problems import answers
from app.schemas.expansion import Expansion, ExpansionRequest, ExpansionSubmitted, ExpertTokens
from app.schemas.job import Job
from app.schemas.model import Estimate
from app.schemas.page import Page
from app.schemas.variant import Coverage, VariantKind
from app.store.variants import covered

router = APIRouter(prefix="/runs/{run}/expansions", tags=["expansions"])


@router.post(
    "",
    operation_id="submitExpansion",
    status_code=202,
    responses={
        200: {"model": ExpansionSubmitted, "description": "Every layer asked for was done already."},
        **answers(404, 409, 422, 507),
    },
)
def submit(
    service: ServiceDep, run: RunName, request: ExpansionRequest, http: Request, response: Response
) -> ExpansionSubmitted:
    """Replace layers of a finished run by mixtures of sparse experts. The same settings name the same expansion, to
    which layers are added: what is done is answered at once (200), the same request under way is joined, what is
    missing is made. `Location` is the job's address.
    """
    plan = variants.plan(service.store, run, request)
    takes = variants.estimate(service, plan)
    job = variants.submit(service, plan)
    accept(http, response, job)
    return ExpansionSubmitted(expansion=_one(service, run, plan.variant), job=job, estimate=takes)


@router.post("/estimate", operation_id="estimateExpansion", responses=answers(404, 409, 422))
def estimate(service: ServiceDep, run: RunName, request: ExpansionRequest) -> Estimate:
    """What the layers that are missing would take: memory, store, time. Nothing is written or queued."""
    return variants.estimate(service, variants.plan(service.store, run, request))


@router.get("", operation_id="listExpansions", responses=answers(404, 422))
def expansions(service: ServiceDep, run: RunName, window: WindowDep) -> Page[Expansion]:
    """Expansions of a run, the newest first."""
    return variants.page(service, run, VariantKind.expansion, window, service.store.variants.expansion)


@router.get("/{expansion}", operation_id="getExpansion", responses=answers(404, 422))
def one(service: ServiceDep, run: RunName, expansion: ExpansionName) -> Expansion:
    """One expansion as far as it has come, layer by layer, each with its clusters."""
    return _one(service, run, expansion)


@router.delete(
    "/{expansion}", operation_id="deleteExpansion", status_code=204, responses=answers(404, 409, 422)
)
def delete(service: ServiceDep, run: RunName, expansion: ExpansionName) -> None:
    """Remove an expansion and all that it stored, its export too. Cancel its job first."""
    variants.delete(service, run, expansion)


@router.post(
    "/{expansion}/export", operation_id="exportExpansion", status_code=202, responses=answers(404, 409, 422)
)
def export(
    service: ServiceDep, run: RunName, expansion: ExpansionName, http: Request, response: Response
) -> Job:
    """Write the expanded model as a folder; layers that are not done stay dense. The expansion's `export` says where,
    once the job has finished.
    """
    job = variants.export(service, run, expansion)
    accept(http, response, job)
    return job


@router.get(
    "/{expansion}/layers/{layer}/{projection}/experts",
    operation_id="listExperts",
    responses=answers(404, 409, 422),
)
def experts(
    store: StoreDep, run: RunName, expansion: ExpansionName, layer: LayerNumber, projection: ProjectionName
) -> Page[ExpertTokens]:
    """What goes to each expert of a layer: how many tokens, the commonest, some in their text."""
    store.variants.record(run, expansion)
    covered(store, run, Coverage(layers=[layer], projections=[projection]))
    found = store.experts(run, expansion, layer, projection)
    return Page(items=found, total=len(found), limit=len(found), offset=0)


def _one(service: Service, run: str, expansion: str) -> Expansion:
    return variants.with_job(service, service.store.variants.expansion(run, expansion))
