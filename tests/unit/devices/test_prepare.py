"""How torch is set up for a CUDA device, and what is told of its memory. No GPU is asked: torch's answers are stand-ins."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from app.settings import Settings
from worker import device
from worker.jobs.memory import is_out_of_memory

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.device]]:
    """Two CUDA devices; the list of those that were made the current one. Everything is put back."""
    made: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    monkeypatch.delenv(WORKSPACE, raising=False)
    before = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    deterministic = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.use_deterministic_algorithms(False)
    yield made
    torch.set_num_threads(before[0])
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before[1:]
    torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
    os.environ.pop(WORKSPACE, None)


@pytest.mark.parametrize(
    ("name", "current"), [("cuda", []), ("auto", []), ("cuda:1", [torch.device("cuda", 1)])]
)
def test_cuda_is_set_up_to_repeat_itself(
    chosen: list[torch.device], name: str, current: list[torch.device]
) -> None:
    found = device.prepare(Settings(device=name, threads=1))
    assert found == torch.device("cuda" if name == "auto" else name)
    assert chosen == current
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ[WORKSPACE] == ":4096:8"
    assert not torch.cuda.is_initialized()  # cuBLAS reads its workspace's size when it starts


def test_a_workspace_that_was_asked_for_stays(
    chosen: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE, ":16:8")
    device.prepare(Settings(device="cuda", threads=1))
    assert os.environ[WORKSPACE] == ":16:8"


def test_only_cuda_tells_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda where: 5 << 20)
    assert device.peak_bytes(torch.device("cuda", 1)) == 5 << 20
    assert device.peak_bytes(torch.device("cpu")) is None
    assert device.peak_bytes(torch.device("mps")) is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB, max allowed: 18.13 GB)."),
    ],
)
def test_a_devices_failed_allocation_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)
