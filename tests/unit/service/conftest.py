"""The command line and an API in memory for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app import cli
from app.cli import base
from app.client import Client
from app.schemas.problem import Problem


def call(*arguments: str) -> int:
    """The exit code of `wasserscope ARGUMENTS`."""
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    return int(caught.value.code or 0)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[httpx.Request]]:
    """Let the command line meet the given answers, by method and end of the path."""

    def begin(answers: dict[str, Any]) -> list[httpx.Request]:
        asked: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            for key, value in answers.items():
                method, _, path = key.partition(" ")
                if request.method == method and request.url.path.endswith(path):
                    if isinstance(value, Problem):
                        return httpx.Response(value.status, content=value.model_dump_json())
                    body = value if isinstance(value, str) else value.model_dump_json()
                    return httpx.Response(200, content=body)
            raise httpx.ConnectError("refused")

        def client(_: object, url: str | None) -> Client:
            return Client(url or "http://there", transport=httpx.MockTransport(handle), waits_seconds=())

        monkeypatch.setattr(base, "client", client)
        return asked

    return begin
