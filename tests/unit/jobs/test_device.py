"""Which device a worker takes, and what it tells of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from app.errors import InvalidRequest
from app.settings import Settings
from worker import device


def test_auto_takes_the_best_there_is() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert device.choose("auto").type == best


@pytest.mark.parametrize("name", ["cuda:63", "xla", "nonsense"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        device.choose(name)
    assert name in caught.value.detail
    assert "WASSERSCOPE_DEVICE" in caught.value.hint


def test_prepare_fixes_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert device.prepare(Settings(device="cpu", threads=1)) == torch.device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_it_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(device="cpu", threads=1, cache=tmp_path)
    first = device.describe(settings)
    assert first.device == "cpu"
    assert first.gflops > 0
    assert first.threads == 1
    assert first.memory_bytes > 100 << 20

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(subprocess, "run", never)
    assert device.describe(settings) == first


def test_a_damaged_measure_is_taken_again(tmp_path: Path) -> None:
    settings = Settings(device="cpu", threads=1, cache=tmp_path)
    device.describe(settings)
    [kept] = (tmp_path / "devices").iterdir()
    kept.write_text("{")
    assert device.describe(settings).gflops > 0
    assert json.loads(kept.read_text())["device"] == "cpu"


def test_a_worker_on_a_device_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no device 'cuda:63'"):
        device.describe(Settings(device="cuda:63", cache=tmp_path))
