"""Guards of a job's process, each tried on a real process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import psutil
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from worker import guard


def test_memory_limit_makes_allocations_fail_while_it_holds() -> None:
    code = """
from worker.guard import memory_limit
try:
    with memory_limit(256):
        bytearray(1 << 30)
except MemoryError:
    print("refused", len(bytearray(1 << 30)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"refused {1 << 30}\n"


def test_no_memory_limit_by_zero() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with guard.memory_limit(0):
        assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_peak_is_in_bytes() -> None:
    assert guard.peak_bytes() >= psutil.Process().memory_info().rss // 2
    assert guard.peak_bytes() < psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's own")
def test_dies_with_its_parent() -> None:
    child = "import os, time; from worker.guard import die_with_parent; die_with_parent(os.getppid()); print(os.getpid(), flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    end = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the child outlived its parent"
        time.sleep(0.02)


def test_does_not_begin_under_a_dead_parent() -> None:
    code = "from worker.guard import die_with_parent; die_with_parent(1 << 22); print('began')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def test_watchdog_counts_from_the_first_sight_of_a_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    answers: list[bool | Exception] = [False, True, True, RedisConnectionError("gone"), True]

    def cancelled() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    dog = guard.Watchdog(os.getppid(), cancelled, grace_seconds=2.5)
    seen = []
    for _ in range(5):
        seen.append(dog.overdue())
        now[0] += 1
    # Redis going away does not stop the count
    assert seen == [False, False, False, False, True]


def test_watchdog_kills_its_process() -> None:
    code = "import os, time; from worker.guard import Watchdog; Watchdog(os.getppid(), lambda: True, 0.1).start(); time.sleep(30)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20, check=False)
    assert done.returncode == -signal.SIGKILL
