"""The token guards everything, and the login page hands out nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.websockets import WebSocketDisconnect

from app.errors import InvalidRequest
from app.main import create_api, guarded
from app.settings import Settings

TOKEN = "correct-horse"


@pytest.fixture
def site(settings: Settings) -> Iterator[TestClient]:
    outer = FastAPI()
    outer.mount("/api", create_api(settings))

    @outer.get("/")
    def page() -> str:
        return "dashboard"

    with TestClient(
        guarded(outer, settings.model_copy(update={"token": SecretStr(TOKEN)})), follow_redirects=False
    ) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/api/v1/runs", "/api/docs", "/api/v1/openapi.json", "/_dash-update-component", "/nothing"]
)
def test_without_token_nothing_is_answered(site: TestClient, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthorized"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic correct-horse", "correct-horse"])
def test_a_wrong_token_is_refused(site: TestClient, header: str) -> None:
    assert site.get("/api/v1/runs", headers={"Authorization": header}).status_code == 401


def test_the_token_opens_the_api(site: TestClient) -> None:
    assert site.get("/api/v1/runs", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_health_tells_strangers_nothing_but_that_it_lives(site: TestClient) -> None:
    assert site.get("/api/v1/health").json() == {"status": "ok"}


def test_a_browser_logs_in_once_and_comes_back_where_it_was(site: TestClient) -> None:
    asked = site.get("/?a=1", headers={"accept": "text/html"})
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=/%3Fa%3D1")
    assert site.post("/login", data={"token": "wrong", "next": "/?a=1"}).status_code == 401
    done = site.post("/login", data={"token": TOKEN, "next": "/?a=1"})
    assert (done.status_code, done.headers["location"]) == (303, "/?a=1")
    cookie = done.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert site.get("/").json() == "dashboard"


@pytest.mark.parametrize(
    "where", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_login_leads_nowhere_else(site: TestClient, where: str) -> None:
    assert site.post("/login", data={"token": TOKEN, "next": where}).headers["location"] == "/"


def test_web_sockets_are_closed(site: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), site.websocket_connect("/_ws"):
        pass


def test_another_address_needs_a_token(settings: Settings) -> None:
    with pytest.raises(InvalidRequest, match="no token is set"):
        guarded(FastAPI(), settings.model_copy(update={"host": "0.0.0.0"}))
