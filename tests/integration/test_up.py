"""`wasserscope up`, as a person starts it: what it starts, says and shows, and that nothing is left when it has ended."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from app.client import Client
from app.errors import ApiUnreachable
from app.schemas.job import JobState
from app.schemas.run import RunRequest, RunState
from app.store import Store
from tests import processes
from tests.conftest import WASSERSCOPE
from tests.integration.conftest import wait_for
from tests.unit.tiny import save_tiny

pytestmark = pytest.mark.timeout(240)

BLOCKS = 12
READY = "Ctrl-C ends it"
LONG = RunRequest(model="path:deep", tokens=15_000, window=64)
LINK = re.compile(r"/runs/[\w-]+/layers/\d+/\w+/neurons/\d+")


class Up:
    """One `wasserscope up` under way, what it has printed, and every process below it."""

    def __init__(self, folder: Path, cache: Path, *options: str, store: str = "store", **env: str) -> None:
        self.port = int(env.pop("WASSERSCOPE_PORT", processes.free_port()))
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = folder / store
        self.output = folder / f"up-{self.port}.txt"
        given = {
            "WASSERSCOPE_PORT": str(self.port),
            "WASSERSCOPE_STORE": str(self.store),
            "WASSERSCOPE_CACHE": str(cache),
            "WASSERSCOPE_MODEL_ROOT": str(folder),
            "WASSERSCOPE_DEVICE": "cpu",
            "WASSERSCOPE_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        with self.output.open("ab") as stream:
            self.process = processes.start(
                [WASSERSCOPE, "up", *options],
                stream,
                cwd=folder,
                env={**os.environ, **given, **env},
                death_signal=signal.SIGINT,
            )

    def printed(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = 90) -> None:
        def look() -> bool:
            if text not in self.printed() and self.process.poll() is not None:
                pytest.fail(f"ended with {self.process.returncode} before {text!r}:\n{self.printed()}")
            return text in self.printed()

        wait_for(look, seconds, f"{text!r}, but it printed:\n{self.printed()}")

    def ended(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, words: str) -> psutil.Process:
        """The process below it with `words` in its command line."""

        def look() -> psutil.Process | None:
            return next((p for p in self.family() if words in " ".join(_command(p))), None)

        found: psutil.Process = wait_for(look, 60, f"a process {words!r}")
        return found

    def client(self) -> Client:
        return Client(self.url)

    def in_mid_job(self) -> str:
        """Submit a long job and wait until its process is at work on a block; the run's id."""
        with self.client() as client:
            submitted = client.submit(LONG)
            assert submitted.job is not None
            job = submitted.job.id
            wait_for(lambda: client.run(submitted.run.id).blocks_done >= 1, 90, "the first block")
            assert client.job(job).state is JobState.running
        return submitted.run.id


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.fixture
def start(tmp_path: Path, shared_cache: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Up]]:
    made: list[Up] = []

    def begin(*options: str, store: str = "store", **env: str) -> Up:
        made.append(Up(tmp_path, shared_cache, *options, store=store, **env))
        return made[-1]

    yield begin
    for up in made:
        if up.process.poll() is None:
            left = up.family()
            up.process.kill()
            up.process.wait()
            psutil.wait_procs(left, timeout=20)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_tiny("llama", tmp_path / "tiny")


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A model that takes long enough to be interrupted."""
    return save_tiny("llama", tmp_path / "deep", blocks=BLOCKS, intermediate_size=384)


def nothing_left(processes: list[psutil.Process], seconds: float = 20) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_explore_twice_computes_once_and_prints_the_same(start: Callable[..., Up], tiny: Path) -> None:
    first = start("--explore", "path:tiny")
    first.wait_for(READY)
    assert len(LINK.findall(first.printed())) == 10
    assert "[100%] finished" in first.printed()
    assert f"Dashboard: {first.url}" in first.printed()
    with first.client() as client:
        run = client.runs().items[0]
        best = client.neurons(run.id, sort="-wd", limit=10).items
    assert LINK.findall(first.printed()) == [
        f"/runs/{run.id}/layers/{row.layer}/{row.projection}/neurons/{row.index}" for row in best
    ]
    assert httpx.get(first.url, follow_redirects=True).status_code == 200
    family = first.family()
    assert len(family) >= 3
    first.interrupt()
    assert first.ended() == 0
    assert nothing_left(family)

    again = start("--explore", "path:tiny")
    again.wait_for(READY)
    assert "finished" not in again.printed()
    assert LINK.findall(again.printed()) == LINK.findall(first.printed())
    with again.client() as client:
        assert client.run(run.id).finished_at == run.finished_at
    again.interrupt()
    assert again.ended() == 0


def test_side_by_side_on_two_stores_but_not_on_one(start: Callable[..., Up]) -> None:
    first, other = start("--workers", "0"), start("--workers", "0", store="other")
    for up in (first, other):
        up.wait_for(READY)
        assert httpx.get(f"{up.url}/api/v1/health").json()["store"]["detail"] == str(up.store)
    second = start("--workers", "0")
    assert second.ended() == 2
    assert f"process {first.process.pid}" in second.printed()
    assert first.url in second.printed()
    assert "--store" in second.printed()
    assert "Traceback" not in second.printed()
    for up in (first, other):
        up.interrupt()
        assert up.ended() == 0


def test_a_taken_port_is_said_before_anything_starts(start: Callable[..., Up]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        up = start(WASSERSCOPE_PORT=str(other.getsockname()[1]))
        assert up.ended() == 2
    assert "Another program listens on 127.0.0.1" in up.printed()
    assert "--port" in up.printed()
    assert not up.store.exists()


def test_a_public_address_needs_a_token(start: Callable[..., Up]) -> None:
    refused = start("--host", "0.0.0.0")
    assert refused.ended() == 2
    assert "WASSERSCOPE_TOKEN" in refused.printed()

    guarded = start("--host", "0.0.0.0", "--workers", "0", WASSERSCOPE_TOKEN="secret-word")
    guarded.wait_for(READY)
    assert httpx.get(f"{guarded.url}/api/v1/runs").status_code == 401
    assert httpx.get(f"{guarded.url}/_dash-layout").status_code == 401
    headers = {"Authorization": "Bearer secret-word"}
    assert httpx.get(f"{guarded.url}/api/v1/runs", headers=headers).status_code == 200
    assert "secret-word" not in guarded.printed()
    for process in guarded.family():
        assert "secret-word" not in " ".join(_command(process))
    guarded.interrupt()
    assert guarded.ended() == 0


def test_ending_it_in_mid_job_leaves_no_process_and_an_intact_store(
    start: Callable[..., Up], deep: Path
) -> None:
    up = start()
    up.wait_for(READY)
    run = up.in_mid_job()
    up.find("worker.horse")
    family = up.family()
    assert len(family) >= 4
    up.interrupt()
    assert up.ended() == 0
    assert nothing_left(family, seconds=5)
    store = Store(str(up.store))
    done = store.blocks_done(run)
    assert store.run(run).state is RunState.incomplete
    assert 1 <= len(done) < BLOCKS
    assert [store.verify_block(run, layer) for layer in done] == [[] for _ in done]

    again = start()  # the queue survived: the job goes on by itself
    again.wait_for(READY)
    with again.client() as client:
        wait_for(lambda: client.run(run).state is RunState.finished, 150, "the run to be finished")
    again.process.send_signal(signal.SIGTERM)
    assert again.ended() == 0


def test_killing_the_supervisor_leaves_no_process(start: Callable[..., Up], deep: Path) -> None:
    up = start()
    up.wait_for(READY)
    run = up.in_mid_job()
    up.find("worker.horse")
    family = up.family()
    scratch = Path(json.loads((up.store / ".lock").read_text())["scratch"])
    up.process.kill()
    up.ended()
    assert nothing_left(family)

    again = start()
    again.wait_for(READY)
    with again.client() as client:
        assert client.run(run).blocks_done >= 1
    assert not scratch.exists()  # the folder of the socket that the killed one could not remove
    again.interrupt()
    assert again.ended() == 0


def test_a_second_ctrl_c_does_not_wait(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for(READY)
    family = up.family()
    up.find("worker.main").suspend()  # it will not answer SIGTERM
    web = up.find("frontend.main")
    up.interrupt()
    # It has come as far as waiting for the worker.
    wait_for(lambda: not web.is_running() or web.status() == psutil.STATUS_ZOMBIE, 20, "the web server's end")
    up.interrupt()
    assert up.ended(9) == 0  # it would wait twelve seconds for the worker
    assert nothing_left(family)


def test_a_process_that_dies_is_started_again_and_it_is_said(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for(READY)
    for name, words in (
        ("Worker 1", "worker.main"),
        ("Web server", "frontend.main"),
        ("Queue server", "valkey-server"),
    ):
        victim = up.find(words)
        victim.kill()
        up.wait_for(f"{name} was killed by SIGKILL; it is started again")
        wait_for(lambda: up.find(words).pid != victim.pid, 30, f"a new {name}")  # noqa: B023
    with up.client() as client:
        wait_for(lambda: _well(client), 60, "health")
    up.interrupt()
    assert up.ended() == 0


def _well(client: Client) -> bool:
    try:
        return client.health().status == "ok"
    except ApiUnreachable:
        return False


def test_a_worker_that_cannot_live_ends_it_with_its_last_words(start: Callable[..., Up]) -> None:
    up = start("--device", "cuda:7")
    assert up.ended(180) == 1
    assert "Worker 1 ended 5 times right after its start" in up.printed()
    assert "cuda:7" in up.printed()
    assert str(up.store / "logs" / "worker-1.log") in up.printed()
    assert "Traceback" not in up.printed()
