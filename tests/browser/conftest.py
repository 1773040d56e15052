"""A browser, and something real to look at.

By default a stack of its own with a tiny random model. With WASSERSCOPE_TEST_URL the same tests look at what runs there
(the demo, say), at the run named by WASSERSCOPE_TEST_RUN or the newest finished one.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from app.client import Client
from app.schemas.expansion import ExpansionRequest
from app.schemas.pruning import PruningRequest
from tests.browser.dashboard import Dashboard
from tests.browser.stack import Stack

# Read at import: the session's first fixture takes every WASSERSCOPE_ variable away.
TEST_URL = os.environ.get("WASSERSCOPE_TEST_URL")
TEST_RUN = os.environ.get("WASSERSCOPE_TEST_RUN")

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MILLISECONDS = 30_000
"""Longest wait for anything on the screen: only a failure, or a machine with much else to do, takes that long."""
EXPERTS = 3
"""Experts of the expansion that the tests look at."""
SMALL = {"width": 1024, "height": 768}
NARROW = {"width": 1280, "height": 800}
WIDE = {"width": 1920, "height": 1080}
WIDEST = {"width": 2560, "height": 1440}


GONE = re.compile(r"ERR_CONNECTION_|ERR_EMPTY_RESPONSE|the server did not respond")


@dataclass(frozen=True)
class Served:
    """A running Wasserscope and a finished run in it."""

    url: str
    run: str
    client: Client

    @property
    def run_path(self) -> str:
        return f"/runs/{self.run}"

    def layer_path(self, layer: int, projection: str) -> str:
        return f"{self.run_path}/layers/{layer}/{projection}"

    def neuron_path(self, layer: int, projection: str, index: int) -> str:
        return f"{self.layer_path(layer, projection)}/neurons/{index}"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Server and worker with one finished run of the tiny model."""
    made = Stack(tmp_path_factory.mktemp("stack"))
    try:
        made.start_worker()
        made.explore()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """What the tests look at."""
    url = TEST_URL or request.getfixturevalue("stack").url
    with Client(url) as client:
        finished = [run.id for run in client.runs().items if run.state == "finished"]
        assert finished, f"{url} has no finished run"
        yield Served(url.rstrip("/"), TEST_RUN or finished[0], client)


@dataclass(frozen=True)
class Made:
    """A pruning and an expansion of one layer of the run, and the addresses that show them."""

    served: Served
    layer: int
    projection: str
    pruning: str
    expansion: str

    @property
    def query(self) -> str:
        return f"?pruning={self.pruning}&expansion={self.expansion}"

    @property
    def layer_path(self) -> str:
        return self.served.layer_path(self.layer, self.projection)

    def neuron_path(self, index: int) -> str:
        return self.served.neuron_path(self.layer, self.projection, index)


@pytest.fixture(scope="session")
def made(served: Served) -> Made:
    """Made by the real worker of the second block's second projection: a quarter of the weights, and three experts."""
    client = served.client
    where = client.layers(served.run)[4]
    coverage = {"layers": [where.layer], "projections": [where.projection]}
    pruned = client.prune(served.run, PruningRequest(sparsity=0.75, **coverage))
    expanded = client.expand(served.run, ExpansionRequest(sparsity=0.75, experts=EXPERTS, **coverage))
    for job in (pruned.job, expanded.job):
        if job is not None:
            last = list(client.events(job.id))[-1]
            assert last.state == "finished", last.problem
    return Made(served, where.layer, where.projection, pruned.pruning.id, expanded.expansion.id)


@pytest.fixture
def bare_stack(tmp_path: Path) -> Iterator[Stack]:
    """A server of its own with nothing in its store and no worker."""
    made = Stack(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium: the system's where there is one, else Playwright's own.

    Ended before the tests of other folders: while Playwright is on, no other event loop runs in this thread.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield started
        started.close()


class Tabs:
    """Opens the dashboard at an address in a tab, and keeps what must not happen there: errors, asking another host.

    With `unreachable`, the browser's own lines about a server that is gone are let through.
    """

    def __init__(self) -> None:
        self.said: list[str] = []

    def open(self, context: BrowserContext, url: str, *, unreachable: bool = False) -> Dashboard:
        def tell(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"} and not (unreachable and GONE.search(message.text)):
                self.said.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

        def own(sent: Request) -> None:
            if not sent.url.startswith((url, "data:", "blob:")):  # the dashboard works without a network
                self.said.append(f"asks another host: {sent.url}")

        page: Page = context.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", tell)
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        page.on("request", own)
        return Dashboard(page, url)


@pytest.fixture
def tabs() -> Iterator[Tabs]:
    """At the end of the test, whatever it opened must have gone well."""
    opened = Tabs()
    yield opened
    if opened.said:
        sys.stderr.write("\n".join(opened.said))
    assert opened.said == []


Visit = Callable[..., Dashboard]


@pytest.fixture
def visit(browser: Browser, tabs: Tabs) -> Iterator[Visit]:
    """Opens a dashboard in a fresh profile."""
    contexts: list[BrowserContext] = []

    def make(url: str, *, unreachable: bool = False, **options: Any) -> Dashboard:
        contexts.append(browser.new_context(viewport=options.pop("viewport", NARROW), **options))
        return tabs.open(contexts[-1], url, unreachable=unreachable)

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="package")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """One profile for many tests: scripts are fetched and compiled once. 1280 wide, light."""
    context = browser.new_context(viewport=NARROW, color_scheme="light")
    yield context
    context.close()


@pytest.fixture
def board(profile: BrowserContext, tabs: Tabs, served: Served) -> Iterator[Dashboard]:
    """The dashboard in a tab of its own; nothing that it kept is left for the next test."""
    opened = tabs.open(profile, served.url)
    yield opened
    opened.page.evaluate("localStorage.clear(), sessionStorage.clear()")
    opened.page.close()
    profile.clear_cookies()
