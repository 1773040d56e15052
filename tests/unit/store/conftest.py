"""A store with one small finished run, made of known numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.store import Store
from tests.unit.store.made import make_run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def run(store: Store) -> str:
    return make_run(store)
