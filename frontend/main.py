"""API and dashboard on one port: the one place that puts both together. `python -m frontend.main` serves them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.client import AsyncClient
from app.main import create_api, guarded, serve
from app.settings import Settings
from frontend.dashboard import create_dashboard


def create_server(settings: Settings) -> ASGIApp:
    """The API mounted at /api, the dashboard beside it, the token (if one is set) before both.

    The dashboard is a client like any other; in this process its calls do not go over the network.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await client.close()

    server = FastAPI(openapi_url=None, lifespan=lifespan)
    server.mount("/api", create_api(settings))
    # Unforeseen errors come back as the API's problem, as they do over the network.
    transport = httpx.ASGITransport(app=server, raise_app_exceptions=False)
    client = AsyncClient("http://wasserscope", transport=transport)
    create_dashboard(server, client)
    return guarded(server, settings)


if __name__ == "__main__":
    sys.exit(serve(create_server))
