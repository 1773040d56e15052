"""The dashboard as a server: whichever page is asked for first is whole."""

from __future__ import annotations

from typing import cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.client import AsyncClient
from frontend.dashboard import create_dashboard
from tests.unit.figures import fake_client as fake


@pytest.mark.parametrize("path", ["/", "/jobs", f"/runs/{fake.RUN}/layers/3/up_proj/neurons/12"])
def test_the_first_page_asked_for_has_its_style_and_scripts(path: str) -> None:
    server = FastAPI(openapi_url=None)
    create_dashboard(server, cast(AsyncClient, fake.FakeClient()))
    with TestClient(server) as browser:
        page = browser.get(path)
    assert page.status_code == 200
    for asset in ("wasserscope.css", "keys.js", "offline.js"):
        assert f"assets/{asset}" in page.text


def test_nothing_comes_from_another_host() -> None:
    server = FastAPI(openapi_url=None)
    create_dashboard(server, cast(AsyncClient, fake.FakeClient()))
    with TestClient(server) as browser:
        page = browser.get("/").text
    assert "http://" not in page
    assert "https://" not in page
