"""Health: what works and what does not."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter

from app.api.deps import ServiceDep
from app.api.problems import answers
from app.errors import QueueUnavailable
from app.schemas.health import Health, Part, WorkerInfo

router = APIRouter(tags=["health"])


@router.get("/health", operation_id="getHealth", responses=answers())
def health(service: ServiceDep) -> Health:
    """Whether Redis and the store answer, and which workers live. Always 200: read `status`."""
    store = service.store.check()
    redis, workers = Part(ok=False, detail="No Redis is configured."), list[WorkerInfo]()
    if service.queue is not None:
        redis = service.queue.ping()
        if redis.ok:
            try:
                workers = service.queue.workers()
            except QueueUnavailable as error:
                redis = Part(ok=False, detail=error.detail)
    status = "ok" if redis.ok and store.ok and workers else "degraded"
    return Health(status=status, version=version("wasserscope"), redis=redis, store=store, workers=workers)
