"""The container files name modules, settings and stages that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_compose_has_the_three_services(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"valkey", "api", "worker"}


@pytest.mark.parametrize("service", ["api", "worker"])
def test_compose_sets_only_settings_that_exist(compose: dict[str, Any], service: str) -> None:
    known = {f"WASSERSCOPE_{name.upper()}" for name in Settings.model_fields}
    assert set(compose["services"][service]["environment"]) <= known


def test_compose_asks_for_a_token_when_the_api_listens_beyond_loopback(compose: dict[str, Any]) -> None:
    environment = compose["services"]["api"]["environment"]
    assert environment["WASSERSCOPE_HOST"] == "0.0.0.0"
    assert environment["WASSERSCOPE_TOKEN"].startswith("${WASSERSCOPE_TOKEN:?")


@pytest.mark.parametrize("service", ["api", "worker"])
def test_compose_builds_stages_of_the_dockerfile(
    compose: dict[str, Any], dockerfile: str, service: str
) -> None:
    stages = re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, flags=re.M)
    assert compose["services"][service]["build"]["target"] in stages


def test_dockerfile_starts_modules_that_exist(dockerfile: str) -> None:
    modules = re.findall(r'^CMD \["python3", "-m", "([\w.]+)"\]$', dockerfile, flags=re.M)
    assert modules == ["frontend.main", "worker.main"]
    assert all(importlib.util.find_spec(module) for module in modules)


def test_no_image_runs_as_root(dockerfile: str) -> None:
    stages = re.split(r"^FROM ", dockerfile, flags=re.M)[2:]
    assert all(re.search(r"^USER wasserscope$", stage, flags=re.M) for stage in stages)
