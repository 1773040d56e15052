"""Running out of memory, turned into something a person can act on."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import torch

from app.errors import OutOfMemory
from app.schemas.model import Estimate
from app.schemas.run import RunRequest
from app.settings import Settings

_SIGNS = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc|os error 12"
    r"|STATUS_ALLOC_FAILED",  # of cuBLAS, cuSOLVER, cuDNN
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is a failed allocation: of Python, of torch on host or device, or of the system."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, (RuntimeError, OSError)) and bool(_SIGNS.search(str(error)))


@contextlib.contextmanager
def translated(
    request: RunRequest, settings: Settings, device: torch.device, estimate: Callable[[], Estimate | None]
) -> Iterator[None]:
    """Raise OutOfMemory, with the run's estimate and a smaller setting to try, for any failed allocation within."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failed = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OutOfMemory(
            _detail(failed, settings, device, estimate()), hint=_hint(request, settings)
        ) from error


def _detail(failed: str, settings: Settings, device: torch.device, estimate: Estimate | None) -> str:
    parts = [f"Memory of {device} did not suffice ({failed})."]
    if settings.memory_limit_mebibytes and device.type == "cpu":
        parts.append(f"The limit is {settings.memory_limit_mebibytes:,} MiB of address space.")
    if estimate is not None:
        size = estimate.host_bytes if device.type == "cpu" else estimate.device_bytes
        parts.append(f"The run was estimated to need {size / 2**20:,.0f} MiB for {estimate.tokens:,} tokens.")
    return " ".join(parts)


def _hint(request: RunRequest, settings: Settings) -> str:
    tries = []
    if settings.batch_tokens > request.window:
        tries.append(f"WASSERSCOPE_BATCH_TOKENS={max(request.window, settings.batch_tokens // 4)}")
    if settings.chunk_mebibytes > 16:
        tries.append(f"WASSERSCOPE_CHUNK_MEBIBYTES={max(16, settings.chunk_mebibytes // 4)}")
    if request.tokens >= 1024:
        tries.append(f"tokens={request.tokens // 2}")
    if settings.memory_limit_mebibytes:
        tries.append("a higher WASSERSCOPE_MEMORY_LIMIT_MEBIBYTES")
    return f"Try {', or '.join(tries)}." if tries else "Use a machine with more memory."
