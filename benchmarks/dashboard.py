"""How fast the dashboard feels: medians of what a person waits for, in Chromium, on a running server.

    python -m benchmarks.dashboard --url http://127.0.0.1:8000 [--times 15] [--check]

Times run in the browser itself, from the click to the frame in which the plot or page stands. First pages are opened in a
fresh profile, with nothing cached. With --check the exit code is 1 when a median is above its limit.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, sync_playwright

from app.client import Client
from app.schemas.run import RunState
from frontend import ids, paths

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SIZE = {"width": 1280, "height": 800}
PATIENCE_MILLISECONDS = 30_000

WAITED = """([press, ready, patience]) => new Promise((done, fail) => {
  const start = performance.now(), is = new Function('return ' + ready);
  new Function(press)();
  const look = () => {
    if (is()) done(performance.now() - start);
    else if (performance.now() - start > patience) fail(new Error('nothing after ' + patience + ' ms'));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""
"""Milliseconds from doing `press` to the first frame in which `ready` holds."""


@dataclass(frozen=True)
class Measure:
    """Something a person waits for, and how long at most."""

    name: str
    limit_milliseconds: float
    take: Callable[[], Iterator[float]]


def drawn(plot: str) -> str:
    """JavaScript: whether a plot stands."""
    return f"!!document.querySelector('#{plot} .js-plotly-plot .cartesianlayer :is(image, .trace)')"


def titled(text: str) -> str:
    """JavaScript: whether the page's title begins so."""
    return f"(document.querySelector('h1')?.textContent || '').startsWith({text!r})"


def waited(page: Page, press: str, ready: str) -> float:
    """Milliseconds from a press to what it brings."""
    return float(page.evaluate(WAITED, [press, ready, PATIENCE_MILLISECONDS]))


def measures(browser: Browser, url: str, times: int) -> list[Measure]:
    """Everything that is measured, on the newest finished run."""
    with Client(url) as client:
        run = next((run for run in client.runs().items if run.state is RunState.finished), None)
        if run is None:
            sys.exit(f"No finished run at {url}: start one with `wasserscope up --explore demo`.")
        top = client.neurons(run.id, sort="-wd", limit=1).items[0]
    layer = paths.layer_path(run.id, top.layer, top.projection)

    def first_page() -> Iterator[float]:
        for _ in range(times):
            context = browser.new_context(viewport=SIZE)  # type: ignore[arg-type]
            page = context.new_page()
            page.goto(url, wait_until="commit")
            page.wait_for_function(drawn(ids.MAP_GRAPH))
            yield float(page.evaluate("performance.now()"))
            context.close()

    def opened(path: str, ready: str) -> Page:
        page = browser.new_context(viewport=SIZE).new_page()  # type: ignore[arg-type]
        page.goto(url + path)
        page.wait_for_function(ready)
        return page

    def neuron_plot() -> Iterator[float]:
        """From one neuron to the next, and there its plot."""
        page = opened(paths.neuron_path(run.id, top.layer, top.projection, 0), drawn(ids.DISTRIBUTION_GRAPH))
        for index in range(1, times + 1):
            ready = f"{titled(f'Neuron {index} ')} && {drawn(ids.DISTRIBUTION_GRAPH)}"
            yield waited(page, f"document.getElementById('{ids.NAV_NEXT}').click()", ready)
        page.context.close()

    def row_click() -> Iterator[float]:
        """From a row of the layer's table to the neuron's plot."""
        row = f"#{ids.NEURON_TABLE} .ag-center-cols-container [row-index='0'] [col-id='wd']"
        page = opened(layer, f'!!document.querySelector("{row}")?.textContent')
        for _ in range(times):
            ready = f"{titled('Neuron ')} && {drawn(ids.DISTRIBUTION_GRAPH)}"
            yield waited(page, f'document.querySelector("{row}").click()', ready)
            page.goto(url + layer)
            page.wait_for_function(f'!!document.querySelector("{row}")?.textContent')
        page.context.close()

    def page_change() -> Iterator[float]:
        """Jobs to the map and back, a page each."""
        page = opened("/jobs", titled("Jobs"))
        for _ in range(times):
            to_map = "document.querySelector('.header a[href=\"/\"].header-link').click()"
            yield waited(page, to_map, drawn(ids.MAP_GRAPH))
            yield waited(page, f"document.getElementById('{ids.JOBS_LINK}').click()", titled("Jobs"))
        page.context.close()

    return [
        Measure("first page: the map", 2000, first_page),
        Measure("page change: jobs, map", 500, page_change),
        Measure("neuron to its neighbour's plot", 300, neuron_plot),
        Measure("row of the table to the neuron's plot", 300, row_click),
    ]


def main() -> int:
    """Measure and print; 1 when something is above its limit and that was to be checked."""
    parser = argparse.ArgumentParser(description="How fast the dashboard feels.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="a running server with a finished run")
    parser.add_argument("--times", type=int, default=15, help="how often each is measured")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a median is above its limit")
    arguments = parser.parse_args()
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    slow = False
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        print(f"{'':40} median    worst    limit, ms")
        for measure in measures(browser, arguments.url.rstrip("/"), arguments.times):
            taken = list(measure.take())
            median = statistics.median(taken)
            slow |= median > measure.limit_milliseconds
            print(f"{measure.name:40} {median:6.0f} {max(taken):8.0f} {measure.limit_milliseconds:8.0f}")
        browser.close()
    return int(slow and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
