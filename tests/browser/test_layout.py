"""Nothing overlaps, nothing is wider than the screen: boxes compared at 1024, 1280, 1920 and 2560 pixels."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from frontend import ids
from tests.browser.conftest import NARROW, SMALL, WIDE, WIDEST, Made, Served
from tests.browser.dashboard import FILLED, Dashboard

OVERLAPS = """([selector, slack]) => {
  const shown = e => { const b = e.getBoundingClientRect(); return b.width > 1 && b.height > 1; };
  const all = Array.from(document.querySelectorAll(selector)).filter(shown), found = [];
  all.forEach((one, i) => all.slice(i + 1).forEach(other => {
    if (one.contains(other) || other.contains(one)) return;
    const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > slack && high > slack) found.push([one.textContent.slice(0, 40), other.textContent.slice(0, 40)]);
  }));
  return found;
}"""
"""Pairs of elements whose boxes overlap by more than `slack` pixels each way."""

TEXT_SLACK = 4
"""The boxes of texts in a plot are higher than their letters."""

OUTSIDE = """() => Array.from(document.querySelectorAll('main .card, main .tile, header, header > *, .page-head *'))
  .filter(e => { const b = e.getBoundingClientRect(); return b.width > 0 && (b.left < 0 || b.right > innerWidth); })
  .map(e => e.outerHTML.slice(0, 120))"""

CUT = """() => Array.from(document.querySelectorAll('h1, h2, .tile-label, .button, .tab, .crumb, .header-link, .numbers td, .numbers th, .variant-bar button, .fact dt'))
  .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
  .map(e => e.textContent)"""
"""Texts that do not fit into their element."""

PLOT_TEXTS = ".js-plotly-plot :is(.annotation-text, .legendtext, .xtitle, .ytitle, .xtick text, .ytick text, .cbtitle text)"


def pages(served: Served, made: Made) -> dict[str, str]:
    """Every kind of page by name."""
    undone = made.served.layer_path(made.layer - 1, made.projection)
    best = served.client.neurons(served.run, sort="-wd", limit=1).items[0]
    return {
        "map": served.run_path,
        "layer": served.layer_path(best.layer, best.projection),
        "neuron": served.neuron_path(best.layer, best.projection, best.index),
        "jobs": "/jobs",
        "new": "/new",
        "variants": f"{served.run_path}/variants{made.query}",
        "jobs, filtered": "/jobs?kind=export&state=failed",
        "nowhere": "/nowhere",
        "map of RI": f"{served.run_path}{made.query}&metric=ri",
        "layer, expanded": f"{made.layer_path}{made.query}&colour=ri",
        "neuron, expanded": f"{made.neuron_path(1)}{made.query}",
        "experts' tokens": f"{made.neuron_path(1)}{made.query}&experts=tokens&y=log",
        "layer, not done": f"{undone}{made.query}&colour=ri",
        "neuron, not done": f"{undone}/neurons/1{made.query}",
        "unknown": f"{made.layer_path}?pruning=p-ffffffffffff",
    }


PLOTS = {
    "map": ids.MAP_GRAPH,
    "layer": ids.LAYER_GRAPH,
    "neuron": ids.DISTRIBUTION_GRAPH,
    "map of RI": ids.MAP_GRAPH,
    "layer, expanded": ids.LAYER_GRAPH,
    "neuron, expanded": ids.EXPERTS_GRAPH,
    "layer, not done": ids.LAYER_GRAPH,
    "neuron, not done": ids.DISTRIBUTION_GRAPH,
}
NAMES = (
    "map",
    "layer",
    "neuron",
    "jobs",
    "new",
    "variants",
    "jobs, filtered",
    "nowhere",
    "map of RI",
    "layer, expanded",
    "neuron, expanded",
    "experts' tokens",
    "layer, not done",
    "neuron, not done",
    "unknown",
)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_overlaps(board: Dashboard, served: Served, made: Made, name: str) -> None:
    board.open(pages(served, made)[name])
    if name in PLOTS:
        board.plot(PLOTS[name])
    _check(board.page)
    for viewport in (WIDEST, WIDE, NARROW):  # a window that grew, and one that shrank again
        board.page.set_viewport_size(viewport)
        _check(board.page)
    board.page.set_viewport_size(SMALL)  # its cards lie below each other
    board.page.wait_for_function(FILLED)
    assert _fits(board.page)
    assert board.page.evaluate(OVERLAPS, ["main .card", 1]) == []


def _fits(page: Page) -> bool:
    wide, window = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    return bool(wide <= window)


def _check(page: Page) -> None:
    page.wait_for_function(FILLED)
    assert _fits(page)
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(CUT) == []
    for selector in (
        "header > *",
        "main .card",
        ".tile",
        ".page-head > *, .page-head .card-tools > *",
        ".variant-bar > *",
        ".card-tools > *",
        ".result, .undone",
    ):
        assert page.evaluate(OVERLAPS, [selector, 1]) == [], selector
    assert page.evaluate(OVERLAPS, [PLOT_TEXTS, TEXT_SLACK]) == []
