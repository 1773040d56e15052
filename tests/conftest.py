"""What every kind of test shares: a clean environment, and the demo, started once as a user starts it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest
from xdist.scheduler import LoadScopeScheduling

from app.store import Store
from benchmarks import synthetic
from tests import processes

ROOT = Path(__file__).parents[1]
WASSERSCOPE = Path(sys.executable).with_name("wasserscope")

SHARING = {
    "test_demo.py": "demo",
    "test_demo_variants.py": "demo",
    "test_dashboard.py": "demo",
    "test_scale.py": "big",
}
"""Files with tests that ask for a fixture which takes long to make, and the fixture."""
ALONE = {"test_first_run.py"}
"""Browser tests with a server of their own each."""


def group(test: str) -> str:
    """What the test of this id shares with others; else its id. All other browser tests share their server."""
    path = PurePosixPath(test.partition("::")[0])
    if path.name in SHARING:
        return SHARING[path.name]
    return "browser" if path.parent.name == "browser" and path.name not in ALONE else test


class Groups(LoadScopeScheduling):
    """With `pytest -n`, a group runs in one process, the largest first; all other tests fill the gaps.

    Not xdist's own groups by mark: since pytest 9.2 it cannot write the mark's name into a test's id.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups | None:
    """For `--dist loadgroup`."""
    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for such a fixture must be in its group: it would be made a second time."""
    for item in items:
        for name in {*SHARING.values()} & {*getattr(item, "fixturenames", ())}:
            own = item._fixtureinfo.name2fixturedefs[name][-1].func  # type: ignore[attr-defined]
            if own.__module__ == __name__ and group(item.nodeid) != name:
                raise pytest.UsageError(f"{item.nodeid} uses {name}: add its file to SHARING in {__file__}")


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> None:
    """Settings of whoever runs the tests must not reach them."""
    for name in [name for name in os.environ if name.startswith("WASSERSCOPE_")]:
        del os.environ[name]
    os.environ.pop("REDIS_URL", None)
    os.environ["HF_HUB_OFFLINE"] = "1"


@dataclass
class Demo:
    """`wasserscope up --explore demo` under way: its process, address, folder and what it has printed."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path
    output: Path

    def printed(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str, **params: Any) -> Any:
        answer = httpx.get(f"{self.url}/api/v1{path}", params=params, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def wait_for(self, text: str, seconds: float) -> None:
        """Wait until `text` is printed; fail with the whole output when the process ends or time is up."""
        end = time.monotonic() + seconds
        while text not in self.printed():
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(
                    f"{text!r} was never printed (exit code {self.process.poll()}):\n{self.printed()}"
                )
            time.sleep(0.1)

    def interrupt(self, seconds: float = 30) -> int:
        """Ctrl-C, as a terminal sends it; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(seconds)


def start_demo(folder: Path, name: str = "demo") -> Demo:
    """The demo on a store in `folder`, on a port of its own."""
    port = processes.free_port()
    output = folder / f"{name}.log"
    env = {
        **os.environ,
        "WASSERSCOPE_STORE": str(folder / "store"),
        "WASSERSCOPE_CACHE": str(folder / "cache"),
        "WASSERSCOPE_PORT": str(port),
    }
    env.pop("OMP_NUM_THREADS", None)  # the demo's own default is all cores
    beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if beside > 1:  # threads that wait for each other on busy cores take three times as long as one alone
        env["WASSERSCOPE_THREADS"] = str(max(1, (os.cpu_count() or 1) // beside))
    command = [WASSERSCOPE, "up", "--explore", "demo"]
    with output.open("wb") as stream:
        process = processes.start(command, stream, cwd=folder, env=env, death_signal=signal.SIGINT)
    return Demo(process, f"http://127.0.0.1:{port}", folder, output)


@dataclass(frozen=True)
class Big:
    """A store with the synthetic run of 1.4 million neurons."""

    folder: Path
    run: str


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Big]:
    """Made once a session, and gone after it: it takes 0.3 GB."""
    folder = tmp_path_factory.mktemp("big") / "store"
    try:
        yield Big(folder, synthetic.make(Store(str(folder))))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo with its finished run; ended with Ctrl-C."""
    running = start_demo(tmp_path_factory.mktemp("demo"))
    try:
        running.wait_for("/neurons/", seconds=540)
        yield running
    finally:
        if running.process.poll() is None:
            try:
                running.interrupt()
            except subprocess.TimeoutExpired:
                running.process.kill()
