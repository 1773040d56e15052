"""Evaluations of a run's variants on held-out text: submitted, listed, looked at, deleted."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app import catalog
from app.api import checks, variants
from app.api.corpora import corpus_of
from app.api.deps import (
    EvaluationName,
    RunName,
    Service,
    ServiceDep,
    WindowDep,
    accept,
    last_job,
    live_queue,
)
from app.api.models import check_tokens, check_window
from app.api.pace import pace
from app.api.problems import answers
from app.errors import Conflict, InvalidRequest, ModelError, QueueUnavailable, about
from app.queue import JobQueue, Work
from app.schemas.evaluation import Evaluation, EvaluationRequest, EvaluationSubmitted
from app.schemas.job import Job
from app.schemas.model import Estimate
from app.schemas.page import Page
from app.store.manifest import RunRecord

router = APIRouter(prefix="/runs/{run}/evaluations", tags=["evaluations"])


@router.post(
    "",
    operation_id="submitEvaluation",
    status_code=202,
    responses={
        200: {"model": EvaluationSubmitted, "description": "The evaluation was finished already."},
        **answers(404, 409, 413, 422, 502, 507),
    },
)
def submit(
    service: ServiceDep, run: RunName, request: EvaluationRequest, http: Request, response: Response
) -> EvaluationSubmitted:
    """Perplexity of the dense model and of variants, on text that the run has not seen. The same request about the
    same layers is the same evaluation: a finished one is answered at once (200), one under way is joined. `Location`
    is the job's address.
    """
    fingerprint = _check(service, run, request)
    queue = live_queue(service)
    queue.require()  # before anything is written: an evaluation that cannot be queued must not be listed
    made, job = _submit(service, queue, run, request, fingerprint)
    accept(http, response, job)
    return EvaluationSubmitted(evaluation=_with_job(service, made), job=job)


@router.post("/estimate", operation_id="estimateEvaluation", responses=answers(404, 409, 413, 422, 502))
def estimate(service: ServiceDep, run: RunName, request: EvaluationRequest) -> Estimate:
    """What an evaluation would take: memory, store, time. Nothing is written or queued."""
    _check(service, run, request)
    variants = [service.store.variants.record(run, variant).settings for variant in request.variants]
    model = service.store.record(run).model
    return catalog.estimate_evaluation(model, variants, request.tokens, pace(service))


@router.get("", operation_id="listEvaluations", responses=answers(404, 422))
def evaluations(service: ServiceDep, run: RunName, window: WindowDep) -> Page[Evaluation]:
    """Evaluations of a run, the newest first."""
    found, working = service.store.evaluations.all(run), variants.jobs(service, run)
    items = [
        one.model_copy(update={"job": working.get(one.id)})
        for one in found[window.offset : window.offset + window.limit]
    ]
    return Page(items=items, total=len(found), limit=window.limit, offset=window.offset)


@router.get("/{evaluation}", operation_id="getEvaluation", responses=answers(404, 422))
def one(service: ServiceDep, run: RunName, evaluation: EvaluationName) -> Evaluation:
    """One evaluation, with its results once it is finished."""
    return _with_job(service, service.store.evaluations.get(run, evaluation))


@router.delete(
    "/{evaluation}", operation_id="deleteEvaluation", status_code=204, responses=answers(404, 409, 422)
)
def delete(service: ServiceDep, run: RunName, evaluation: EvaluationName) -> None:
    """Remove an evaluation. Cancel its job first."""
    service.store.evaluations.get(run, evaluation)
    checks.idle(service, run, evaluation)
    service.store.evaluations.delete(run, evaluation)


def _submit(
    service: Service, queue: JobQueue, run: str, request: EvaluationRequest, fingerprint: str
) -> tuple[Evaluation, Job | None]:
    store = service.store.evaluations
    before = {known.id for known in store.all(run)}
    evaluation = store.create(run, request, fingerprint)
    made = store.get(run, evaluation)
    if made.finished:
        return made, None
    titles = [service.store.variants.record(run, variant).settings.title for variant in request.variants]
    shown = [*titles[:3], f"{len(titles) - 3} more"] if len(titles) > 4 else titles
    work = Work(
        "evaluate", run, evaluation, f"Perplexity: {'; '.join(['dense', *shown])}", ((run, evaluation),)
    )
    try:
        return made, queue.submit(work)
    except QueueUnavailable:
        if evaluation not in before:
            store.delete(run, evaluation)
        raise


def _check(service: Service, run: str, request: EvaluationRequest) -> str:
    """Refuse what cannot be evaluated; the text's fingerprint. Overlap shows only in tokens: workers refuse that."""
    facts, record = checks.finished(service.store, run), service.store.record(run)
    for variant in request.variants:
        if not service.store.variants.done(run, variant):
            raise Conflict(
                f"No layer of '{variant}' is done yet: it would be the dense model.",
                hint="Wait for its job, or submit it again to go on.",
            ).at("body.variants")
        checks.unchanging(service, run, variant)
    if request.tokens < request.window:
        raise InvalidRequest(
            f"{request.tokens:,} tokens do not fill one window of {request.window:,}.",
            hint="Ask for more tokens, or set window to as many or fewer.",
        ).at("body.window")
    check_tokens(service, request.tokens)
    _check_model(service, record, request.window)
    corpus = request.corpus or record.request.corpus
    seen = facts.tokens if corpus == record.request.corpus else 0
    with about("body.corpus"):
        _, fingerprint = corpus_of(service, corpus, request.tokens, seen)
    return fingerprint


def _check_model(service: Service, record: RunRecord, window: int) -> None:
    """Raise ModelError for encoders, and where the model is not what it was when the run was made."""
    checkpoint = catalog.resolve(record.request.model, service.settings)
    catalog.check_causal(checkpoint)
    if checkpoint.fingerprint != record.model.fingerprint:
        raise ModelError(
            f"The files of '{record.request.model}' are not those the run was made for: their fingerprint is "
            f"{checkpoint.fingerprint}, not {record.model.fingerprint}.",
            hint="Submit the run's request again: it becomes a run of its own.",
        )
    check_window(catalog.inspect_model(checkpoint), window)


def _with_job(service: Service, made: Evaluation) -> Evaluation:
    job = last_job(service, made.run, made.id)
    return made.model_copy(update={"job": job.id if job else None})
