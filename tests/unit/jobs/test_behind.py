"""Writes in the background: in order, one at a time, and no failure lost."""

from __future__ import annotations

import threading

import pytest

from worker.jobs.behind import WAITING, WriteBehind


def test_writes_in_order_and_tells_from_the_own_thread() -> None:
    wrote: list[tuple[int, str]] = []
    told: list[tuple[int, str]] = []
    with WriteBehind() as writer:
        for i in range(5):
            writer.put(
                lambda i=i: wrote.append((i, threading.current_thread().name)),
                lambda i=i: told.append((i, threading.current_thread().name)),
            )
    assert [i for i, _ in wrote] == [i for i, _ in told] == list(range(5))
    assert all(name.startswith("write-behind") for _, name in wrote)
    assert {name for _, name in told} == {threading.current_thread().name}


def test_no_more_than_a_few_wait() -> None:
    go, started = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        go.wait(10)

    with WriteBehind() as writer:
        writer.put(slow, lambda: None)
        for _ in range(WAITING - 1):
            writer.put(lambda: None, lambda: None)
        started.wait(10)
        threading.Timer(0.05, go.set).start()
        writer.put(lambda: None, lambda: None)
        assert go.is_set(), "waited for the first"


def test_a_later_put_raises_what_a_write_raised() -> None:
    told: list[int] = []
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError("full")

    def many() -> None:
        with WriteBehind() as writer:
            writer.put(fail, lambda: told.append(0))
            failed.wait(10)
            for _ in range(WAITING):
                writer.put(lambda: None, lambda: told.append(1))
            pytest.fail("the failure was never raised")

    with pytest.raises(OSError, match="full"):
        many()
    assert told == []


def test_the_last_write_is_waited_for_and_its_failure_raised() -> None:
    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), WriteBehind() as writer:
        writer.put(fail, lambda: None)


def test_another_error_waits_for_the_write_and_goes_on() -> None:
    go, wrote = threading.Event(), []

    def write() -> None:
        go.wait(10)
        wrote.append(1)

    def interrupted() -> None:
        with WriteBehind() as writer:
            writer.put(write, lambda: None)
            threading.Timer(0.05, go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert wrote == [1]
