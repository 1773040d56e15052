"""The device of a worker: which one, how much memory it has, how fast it multiplies.

`python -m worker.device` prints this as JSON. The worker asks a process of its own, so that itself stays small and
never holds a CUDA context beside its job's.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from app.errors import InvalidRequest, WasserscopeError
from app.settings import Settings

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("wasserscope.device")

MEASURE_SECONDS = 0.5
_SIDE = 1024


@dataclass(frozen=True)
class DeviceInfo:
    """A device; `gflops` in 1e9 float32 operations per second of a matrix product."""

    device: str
    memory_bytes: int
    gflops: float
    threads: int


def choose(name: str) -> torch.device:
    """The torch device of the setting `name`. Raises InvalidRequest when this machine has none such."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidRequest(f"'{name}' is no device: {error}", hint="WASSERSCOPE_DEVICE=auto") from error
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    missing = {
        "cuda": (device.index or 0) >= count,
        "mps": not torch.backends.mps.is_available(),
        "cpu": False,
    }.get(device.type, True)
    if missing:
        raise InvalidRequest(
            f"There is no device '{name}' on this machine (CUDA devices: {count}).",
            hint="Set WASSERSCOPE_DEVICE=auto or cpu.",
        )
    return device


def prepare(settings: Settings) -> torch.device:
    """The chosen device with torch set up for repeatable results: fixed threads, deterministic kernels."""
    import torch

    device = choose(settings.device)
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        if device.index is not None:
            torch.cuda.set_device(device)  # what asks for no index, too, is to stay off the other GPUs
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode would also fill every new tensor: 27 ms for 32 MiB, and nothing is read before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return device


def memory_bytes(device: torch.device) -> int:
    """Memory of the device; on CPU the smaller of the machine's and the container's limit."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    total = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(text)) if text.isdecimal() else total


def peak_bytes(device: torch.device) -> int | None:
    """Most memory that tensors of this process took on the device so far; None where that is not its own or not told."""
    import torch

    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None


def measure_gflops(device: torch.device) -> float:
    """Rate of square float32 matrix products, the fastest of half a second of them."""
    import torch

    a = torch.ones(_SIDE, _SIDE, device=device)
    best, end = float("inf"), time.perf_counter() + MEASURE_SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        float((a @ a)[0, 0])  # the read waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * _SIDE**3 / best / 1e9


def describe(settings: Settings) -> DeviceInfo:
    """The device of these settings, measured once per machine and kept in the cache folder."""
    key = f"{platform.node()}-{settings.device}-{settings.threads}-{os.cpu_count()}-{version('torch')}"
    kept = settings.cache / "devices" / f"{''.join(c if c.isalnum() or c in '.-' else '_' for c in key)}.json"
    try:
        return DeviceInfo(**json.loads(kept.read_text()))
    except (OSError, ValueError, TypeError):
        logger.info("measuring the device")
    answer = subprocess.run(
        [sys.executable, "-m", "worker.device"],
        env={**os.environ, **settings.to_env(), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        last = answer.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InvalidRequest(last[0], hint="Set WASSERSCOPE_DEVICE=auto or cpu.")
    info = DeviceInfo(**json.loads(answer.stdout.splitlines()[-1]))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(asdict(info)))
    except OSError as error:
        logger.warning("the device's measure cannot be kept: %s", error)
    return info


def main() -> int:
    """Measure and print."""
    settings = Settings()
    try:
        device = prepare(settings)
        import torch

        info = DeviceInfo(
            str(device), memory_bytes(device), round(measure_gflops(device), 1), torch.get_num_threads()
        )
    except WasserscopeError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(info)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
