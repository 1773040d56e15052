"""Prunings of a run: submitted, listed, looked at, exported, deleted."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api import variants
from app.api.deps import PruningName, RunName, Service, ServiceDep, WindowDep, accept
from app.api.problems import answers
from app.schemas.job import Job
from app.schemas.model import Estimate
from app.schemas.page import Page
from app.schemas.pruning import Pruning, PruningRequest, PruningSubmitted
from app.schemas.variant import VariantKind

router = APIRouter(prefix="/runs/{run}/prunings", tags=["prunings"])


@router.post(
    "",
    operation_id="submitPruning",
    status_code=202,
    responses={
        200: {"model": PruningSubmitted, "description": "Every layer asked for was done already."},
        **answers(404, 409, 422, 507),
    },
)
def submit(
    service: ServiceDep, run: RunName, request: PruningRequest, http: Request, response: Response
) -> PruningSubmitted:
    """Prune layers of a finished run. The same settings name the same pruning, to which layers are added: what is
    done is answered at once (200), the same request under way is joined, what is missing is made. `Location` is the
    job's address.
    """
    plan = variants.plan(service.store, run, request)
    takes = variants.estimate(service, plan)
    job = variants.submit(service, plan)
    accept(http, response, job)
    return PruningSubmitted(pruning=_one(service, run, plan.variant), job=job, estimate=takes)


@router.post("/estimate", operation_id="estimatePruning", responses=answers(404, 409, 422))
def estimate(service: ServiceDep, run: RunName, request: PruningRequest) -> Estimate:
    """What the layers that are missing would take: memory, store, time. Nothing is written or queued."""
    return variants.estimate(service, variants.plan(service.store, run, request))


@router.get("", operation_id="listPrunings", responses=answers(404, 422))
def prunings(service: ServiceDep, run: RunName, window: WindowDep) -> Page[Pruning]:
    """Prunings of a run, the newest first."""
    return variants.page(service, run, VariantKind.pruning, window, service.store.variants.pruning)


@router.get("/{pruning}", operation_id="getPruning", responses=answers(404, 422))
def one(service: ServiceDep, run: RunName, pruning: PruningName) -> Pruning:
    """One pruning as far as it has come, layer by layer."""
    return _one(service, run, pruning)


@router.delete("/{pruning}", operation_id="deletePruning", status_code=204, responses=answers(404, 409, 422))
def delete(service: ServiceDep, run: RunName, pruning: PruningName) -> None:
    """Remove a pruning and all that it stored, its export too. Cancel its job first."""
    variants.delete(service, run, pruning)


@router.post(
    "/{pruning}/export", operation_id="exportPruning", status_code=202, responses=answers(404, 409, 422)
)
def export(service: ServiceDep, run: RunName, pruning: PruningName, http: Request, response: Response) -> Job:
    """Write the pruned model as a folder that transformers opens; layers that are not done stay dense. The pruning's
    `export` says where, once the job has finished.
    """
    job = variants.export(service, run, pruning)
    accept(http, response, job)
    return job


def _one(service: Service, run: str, pruning: str) -> Pruning:
    return variants.with_job(service, service.store.variants.pruning(run, pruning))
