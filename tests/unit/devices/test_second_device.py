"""Every job on a second device that is made of the CPU (`second_device.py`), each kind of device in a process of its own.

This shows where tensors are: that no operation mixes devices, that nothing reaches for a device's memory from the CPU, that
the branches for CUDA and MPS run and store what the CPU stores (but for float32's rounding), and that MPS gets no float64.
It does not show that a GPU's kernels exist for all of it, nor their rounding, determinism, speed or use of memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run_there(kind: str, file: str) -> None:
    """Run the tests of a file beside this one on a second device of this kind."""
    command = [sys.executable, "-m", "pytest", str(Path(__file__).with_name(file)), "-q", "--tb=short"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--timeout=600"],
        cwd=ROOT,
        env={**os.environ, "SECOND_DEVICE": kind},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_the_device_refuses_and_allows_what_cuda_does(kind: str) -> None:
    run_there(kind, "rules.py")


@pytest.mark.timeout(900)  # a minute on two idle cores
@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_jobs_store_what_they_store_on_the_cpu(kind: str) -> None:
    run_there(kind, "jobs.py")
