"""Models: what there is, and what is inside one."""

from __future__ import annotations

from fastapi import APIRouter

from app import catalog
from app.api.deps import Service, ServiceDep, SettingsDep
from app.api.pace import pace
from app.api.problems import answers
from app.errors import InvalidRequest, about
from app.schemas.model import Estimate, InspectRequest, ModelInspection, ModelSources

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", operation_id="listModels", responses=answers())
def models(settings: SettingsDep) -> ModelSources:
    """Models that can be named in a request right now, and the forms other names may have."""
    return catalog.model_sources(settings)


@router.post("/inspect", operation_id="inspectModel", responses=answers(404, 413, 422, 502))
def inspect(service: ServiceDep, request: InspectRequest) -> ModelInspection:
    """A model's blocks, layers and shapes, and what a run would take; no weights are loaded."""
    check_tokens(service, request.tokens)
    with about("body.model"):
        inspection = catalog.inspect_model(catalog.resolve(request.model, service.settings))
    check_window(inspection, request.window)
    return inspection.model_copy(
        update={"estimate": estimate(service, inspection, request.tokens, request.window)}
    )


def estimate(service: Service, inspection: ModelInspection, tokens: int, window: int) -> Estimate:
    """What a run takes on the fastest live worker."""
    found = pace(service)
    return catalog.estimate(inspection, tokens, window, service.settings, found.gflops, found.basis)


def check_tokens(service: Service, tokens: int) -> None:
    """Raise InvalidRequest for more tokens than a run may have."""
    most = service.settings.max_tokens
    if tokens > most:
        raise InvalidRequest(
            f"{tokens:,} tokens were asked for; a run may have at most {most:,}.",
            hint="Ask for fewer, or raise WASSERSCOPE_MAX_TOKENS.",
        ).at("body.tokens")


def check_window(inspection: ModelInspection, window: int) -> None:
    """Raise InvalidRequest for a window beyond the model's context."""
    if window > inspection.context_length:
        raise InvalidRequest(
            f"A window of {window:,} tokens is longer than the context of {inspection.title}, "
            f"which is {inspection.context_length:,} tokens.",
            hint=f"Set window to {inspection.context_length:,} or less; tokens may be as many as you like.",
        ).at("body.window")
