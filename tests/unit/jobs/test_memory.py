"""Failed allocations become something a person can act on; other failures stay what they are."""

from __future__ import annotations

import pytest
import torch

from app.errors import CorpusError, OutOfMemory
from app.schemas.model import Estimate
from app.schemas.run import RunRequest
from app.settings import Settings
from worker.jobs import memory

CPU = torch.device("cpu")
ESTIMATE = Estimate(
    tokens=8192, host_bytes=3 << 30, device_bytes=2 << 30, store_bytes=1, seconds=1.0, basis="measured"
)


def translate(
    error: Exception, device: torch.device = CPU, request: RunRequest | None = None, **settings: int
) -> OutOfMemory:
    values = Settings(**settings)  # type: ignore[arg-type]
    with (
        pytest.raises(OutOfMemory) as caught,
        memory.translated(request or RunRequest(), values, device, lambda: ESTIMATE),
    ):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."
        ),
        RuntimeError("std::bad_alloc"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_every_kind_of_failed_allocation(error: Exception) -> None:
    told = translate(error)
    assert "3,072 MiB for 8,192 tokens" in told.detail
    assert (
        told.hint == "Try WASSERSCOPE_BATCH_TOKENS=1024, or WASSERSCOPE_CHUNK_MEBIBYTES=64, or tokens=4096."
    )


def test_a_device_is_told_its_own_estimate() -> None:
    told = translate(torch.OutOfMemoryError("CUDA out of memory"), torch.device("cuda:0"))
    assert "Memory of cuda:0" in told.detail
    assert "2,048 MiB" in told.detail


def test_a_limit_is_named() -> None:
    told = translate(MemoryError(), memory_limit_mebibytes=1500)
    assert "1,500 MiB of address space" in told.detail
    assert "a higher WASSERSCOPE_MEMORY_LIMIT_MEBIBYTES" in told.hint


def test_when_nothing_is_left_to_lower() -> None:
    told = translate(
        MemoryError(), request=RunRequest(tokens=64, window=64), batch_tokens=1, chunk_mebibytes=1
    )
    assert told.hint == "Use a machine with more memory."


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), CorpusError("too short"), OSError(2, "no such file")]
)
def test_other_failures_stay(error: Exception) -> None:
    with (
        pytest.raises(type(error)) as caught,
        memory.translated(RunRequest(), Settings(), CPU, lambda: ESTIMATE),
    ):
        raise error
    assert caught.value is error
