"""API and dashboard on one port: the one place that puts both together. `python -m frontend.main` serves them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from app import logging
from app.client import AsyncClient
from app.errors import WasserscopeError
from app.main import create_api, guarded
from app.settings import Settings
from frontend.dashboard import create_dashboard


def create_server(settings: Settings) -> ASGIApp:
    """The API mounted at /api, the dashboard beside it, the token (if one is set) before both.

    The dashboard is a client like any other; in this process its calls do not go over the network.
    """
    api = create_api(settings)
    # Unforeseen errors come back as the API's problem, as they do over the network.
    transport = httpx.ASGITransport(app=_below("/api", api), raise_app_exceptions=False)
    client = AsyncClient("http://wasserscope", transport=transport)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await client.close()

    server = FastAPI(openapi_url=None, lifespan=lifespan)
    server.mount("/api", api)
    create_dashboard(server, client)
    return guarded(server, settings)


def _below(path: str, api: FastAPI) -> FastAPI:
    outer = FastAPI(openapi_url=None)
    outer.mount(path, api)
    return outer


def main() -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    settings = Settings()
    logging.configure(settings)
    try:
        server = create_server(settings)
    except WasserscopeError as error:
        sys.stderr.write(f"{error.title}: {error.detail} {error.hint}\n")
        return 1
    # Open event streams must not hold up the end.
    uvicorn.run(
        server,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
