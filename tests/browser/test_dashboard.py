"""The dashboard on the demo's data: a real model's names, numbers and shapes. All else is tested on the tiny model."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from frontend import ids, theme
from tests.browser.conftest import NARROW, WIDE, Visit
from tests.browser.dashboard import FILLED
from tests.conftest import Demo

PATHS = {
    "map": "",
    "layer": "/layers/15/up_proj",
    "neuron": "/layers/15/up_proj/neurons/402",
}


@pytest.fixture
def page(visit: Visit, demo: Demo) -> Page:
    """A fresh page, 1280 x 800, light."""
    return visit(demo.url, color_scheme="light").page


@pytest.fixture(scope="session")
def run(demo: Demo) -> dict[str, Any]:
    """The demo's finished run."""
    found: dict[str, Any] = demo.get("/runs")["items"][0]
    return found


def drawn(page: Page, name: str) -> None:
    """Wait until the plot `name` has its cells or bars."""
    page.wait_for_selector(f"#{name} .js-plotly-plot .cartesianlayer :is(image, .trace)", state="attached")


def click_cell(page: Page, name: str, across: float, up: float) -> None:
    """Click into the first panel of a heatmap, at shares of its width and height."""
    drawn(page, name)
    layer = page.locator(f"#{name} .nsewdrag").first
    layer.scroll_into_view_if_needed()
    box = layer.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + across * box["width"], box["y"] + up * box["height"])
    page.wait_for_selector(f"#{name} .hoverlayer .hovertext")
    page.mouse.click(box["x"] + across * box["width"], box["y"] + up * box["height"])


def test_from_the_map_to_a_layer_to_a_neuron_and_back(page: Page, demo: Demo, run: dict[str, Any]) -> None:
    page.goto(demo.url)
    click_cell(page, ids.MAP_GRAPH, 0.3, 0.5)
    page.wait_for_url(re.compile(rf"/runs/{run['id']}/layers/\d+/\w+$"))
    layer_url = page.url
    click_cell(page, ids.LAYER_GRAPH, 0.5, 0.5)
    page.wait_for_url(re.compile(r"/neurons/\d+$"))
    neuron_url = page.url
    shown = demo.get(neuron_url.removeprefix(demo.url))
    expect(page.locator(f"#{ids.number('wd')}")).to_have_attribute("title", repr(shown["wd"]))

    page.go_back()
    page.wait_for_url(layer_url)
    drawn(page, ids.LAYER_GRAPH)
    page.go_back()
    drawn(page, ids.MAP_GRAPH)
    page.go_forward()
    page.go_forward()
    page.wait_for_url(neuron_url)
    expect(page.locator(f"#{ids.number('wd')}")).to_have_attribute("title", repr(shown["wd"]))


@pytest.mark.parametrize(
    ("layer", "projection", "index"), [(0, "down_proj", 3), (15, "up_proj", 402), (29, "gate_proj", 0)]
)
def test_the_numbers_of_a_neuron_are_the_apis(
    page: Page, demo: Demo, run: dict[str, Any], layer: int, projection: str, index: int
) -> None:
    path = f"/runs/{run['id']}/layers/{layer}/{projection}/neurons/{index}"
    found = demo.get(path)
    page.goto(demo.url + path)
    names = (
        "wd",
        "md",
        "mean",
        "std",
        "skew",
        "kurtosis",
        "entropy",
        "mean_abs_weight",
        "weight_norm",
        "zero_share",
    )
    for name in names:
        cell = page.locator(f"#{ids.number(name)}")
        expect(cell).to_have_text(theme.number(found[name]))
        expect(cell).to_have_attribute("title", repr(float(found[name])))
    for name in ("rank_layer", "rank_model"):
        expect(page.locator(f"#{ids.number(name)}")).to_have_text(f"{found[name]:,}")
    values = page.locator(f"#{ids.TOKENS} .token-value")
    expect(values).to_have_count(len(found["tokens"]["high"]))
    expect(values.first).to_have_text(theme.number(found["tokens"]["high"][0]["value"]))


@pytest.mark.parametrize("name", list(PATHS))
def test_nothing_is_wider_than_the_screen(page: Page, demo: Demo, run: dict[str, Any], name: str) -> None:
    page.goto(f"{demo.url}/runs/{run['id']}{PATHS[name]}")
    drawn(page, {"map": ids.MAP_GRAPH, "layer": ids.LAYER_GRAPH, "neuron": ids.DISTRIBUTION_GRAPH}[name])
    for size in (NARROW, WIDE):
        page.set_viewport_size(size)
        page.wait_for_function(FILLED)
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
        boxes = page.evaluate(
            "[...document.querySelector('header').children].map(e => e.getBoundingClientRect())"
            ".filter(b => b.width > 0).map(b => [b.left, b.right])"
        )
        for (_, right), (left, _) in pairwise(boxes):
            assert right <= left
