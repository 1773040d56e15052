"""The API alone: `create_api(settings)` makes it, `python -m app.main` runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

from app import logging
from app.address import check_exposure
from app.api import (
    corpora,
    evaluations,
    expansions,
    health,
    jobs,
    models,
    neurons,
    outputs,
    problems,
    prunings,
    runs,
    sweeps,
)
from app.api.deps import Service
from app.auth import SiteGuard, TokenGuard
from app.errors import WasserscopeError
from app.etags import ETags
from app.limits import BodyLimit
from app.queue import JobQueue
from app.schemas.problem import Problem
from app.settings import Settings
from app.store import Store

ROUTERS = (health, models, corpora, runs, neurons, outputs, prunings, expansions, evaluations, sweeps, jobs)
DESCRIPTION = (
    "Captures the outputs of every neuron of a transformer's feed-forward layers, scores them by Wasserstein distance to "
    "a Gaussian (WD) and mapping difficulty (MD), prunes layers or expands them into sparse experts, and serves what that "
    "did to each neuron. Work answers 202 with a job; every failure is `application/problem+json` with what to do about "
    "it. What never changes of a finished run carries an ETag: sent back as `If-None-Match`, it is answered 304; prunings, "
    "expansions, evaluations, sweeps and stored outputs come and go and carry none. With a token set, every call needs `Authorization: Bearer TOKEN`, "
    "and health tells strangers only that the service lives."
)


def create_api(settings: Settings, *, store: Store | None = None, queue: JobQueue | None = None) -> FastAPI:
    """The API with its routes below /v1; mounted at /api they are /api/v1."""
    api = FastAPI(
        title="Wasserscope",
        version=version("wasserscope"),
        description=DESCRIPTION,
        docs_url="/docs",
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    store = store or Store(settings.store)
    if queue is None and settings.redis_url is not None:
        queue = JobQueue(settings, store.id)
    api.state.service = Service(settings=settings, store=store, queue=queue)
    for module in ROUTERS:
        api.include_router(module.router, prefix="/v1")
    problems.install(api)
    api.add_middleware(ETags, store=store)
    api.add_middleware(BodyLimit, most_bytes=settings.max_body_mebibytes * 2**20)
    api.openapi = lambda: _openapi(api)  # type: ignore[method-assign]
    return api


def guarded(app: ASGIApp, settings: Settings) -> ASGIApp:
    """`app` behind the token, when one is set, and closed to pages of other sites. Raises InvalidRequest for a public
    address without a token.
    """
    check_exposure(settings)
    site = SiteGuard(app)
    return site if settings.token is None else TokenGuard(site, settings.token.get_secret_value())


def _openapi(api: FastAPI) -> dict[str, Any]:
    if api.openapi_schema is None:
        made = get_openapi(title=api.title, version=api.version, description=DESCRIPTION, routes=api.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        for operation in (o for path in made["paths"].values() for o in path.values()):
            if "422" in operation["responses"]:  # FastAPI's own shape, which is never sent
                operation["responses"]["422"] = problems.answers(422)[422]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        api.openapi_schema = made
    return api.openapi_schema


def serve(create: Callable[[Settings], ASGIApp]) -> int:
    """Serve what `create` makes of the environment's settings until SIGTERM or SIGINT; the exit status."""
    settings = Settings()
    logging.configure(settings)
    try:
        server = create(settings)
    except WasserscopeError as error:
        sys.stderr.write(f"{error.title}: {error.detail} {error.hint}\n")
        return 1
    uvicorn.run(
        server,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,  # open event streams must not hold up the end
    )
    return 0


def create_server(settings: Settings) -> ASGIApp:
    """The API alone, mounted at /api."""
    server = FastAPI(openapi_url=None)
    server.mount("/api", create_api(settings))
    return guarded(server, settings)


if __name__ == "__main__":
    sys.exit(serve(create_server))
