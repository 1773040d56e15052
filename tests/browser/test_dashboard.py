"""The dashboard on the demo's data, in Chromium: what is on screen is what the API says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from frontend import ids, theme
from tests.conftest import Demo

PATHS = {
    "map": "",
    "layer": "/layers/15/up_proj",
    "neuron": "/layers/15/up_proj/neurons/402",
}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page, 1280 x 800, light; no console errors and no page errors at its end."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    problems: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(message.text)

    opened.on("console", listen)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    context.close()
    assert problems == []


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


def test_the_table_is_the_apis_ranking(page: Page, demo: Demo, run: dict[str, Any]) -> None:
    top = demo.get(f"/runs/{run['id']}/neurons", sort="-wd", limit=5)["items"]
    page.goto(f"{demo.url}/runs/{run['id']}")
    grid = page.locator(f"#{ids.NEURON_TABLE}")
    grid.scroll_into_view_if_needed()
    for place, neuron in enumerate(top):
        row = grid.locator(f'[role="row"][row-index="{place}"]')
        expect(row.locator('[col-id="index"]')).to_have_text(str(neuron["index"]))
        expect(row.locator('[col-id="layer"]')).to_have_text(str(neuron["layer"]))
    grid.locator('[row-index="0"] [col-id="index"]').click()
    first = top[0]
    page.wait_for_url(f"**/layers/{first['layer']}/{first['projection']}/neurons/{first['index']}")


def test_the_tiles_are_the_runs(page: Page, demo: Demo, run: dict[str, Any]) -> None:
    page.goto(f"{demo.url}/runs/{run['id']}")
    tiles = page.locator(f"#{ids.TILES}")
    for text in (
        f"{run['tokens']:,}",
        f"{run['neurons']:,}",
        theme.number(run["gaussian_floor"]),
        run["model"]["title"],
    ):
        expect(tiles).to_contain_text(text)


def test_the_view_is_in_the_address(page: Page, demo: Demo, run: dict[str, Any]) -> None:
    page.goto(f"{demo.url}/runs/{run['id']}{PATHS['neuron']}")
    page.get_by_role("link", name="log", exact=True).click()
    page.wait_for_url("**/neurons/402?y=log")
    expect(page.locator("#distribution .tab.active")).to_have_text("log")
    page.get_by_role("link", name="lowest").click()
    page.wait_for_url("**/neurons/402?y=log&tokens=low")
    page.reload()
    found = demo.get(f"/runs/{run['id']}{PATHS['neuron']}")
    first = page.locator(f"#{ids.TOKENS} .token-value").first
    expect(first).to_have_text(theme.number(found["tokens"]["low"][0]["value"]))


def test_arrow_keys_move_and_typing_does_not(page: Page, demo: Demo, run: dict[str, Any]) -> None:
    page.goto(f"{demo.url}/runs/{run['id']}{PATHS['neuron']}")
    page.wait_for_selector(f"#{ids.NAV_NEXT}")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/layers/15/up_proj/neurons/403")
    expect(page.locator("h1")).to_contain_text("Neuron 403")
    page.keyboard.press("ArrowUp")
    page.wait_for_url("**/layers/16/up_proj/neurons/403")
    expect(page.locator("h1")).to_contain_text("block 16")
    page.keyboard.press("/")
    expect(page.locator(f"#{ids.JUMP}")).to_be_focused()
    page.keyboard.type("3.down_proj.5")
    page.keyboard.press("ArrowLeft")
    assert page.url.endswith("/layers/16/up_proj/neurons/403")
    page.keyboard.press("Enter")
    page.wait_for_url("**/layers/3/down_proj/neurons/5")


def test_light_and_dark_are_kept(page: Page, demo: Demo, run: dict[str, Any]) -> None:
    page.goto(f"{demo.url}/runs/{run['id']}{PATHS['neuron']}")
    html = page.locator("html")
    expect(html).to_have_attribute("data-mantine-color-scheme", "light")
    page.locator(f"#{ids.THEME_TOGGLE}").click()
    expect(html).to_have_attribute("data-mantine-color-scheme", "dark")
    page.reload()
    expect(html).to_have_attribute("data-mantine-color-scheme", "dark")
    drawn(page, ids.DISTRIBUTION_GRAPH)


@pytest.mark.parametrize("path", ["/elsewhere", "/runs/unknown-0123456789ab", "/jobs/unknown-job"])
def test_what_is_not_there_is_said(page: Page, demo: Demo, path: str) -> None:
    page.goto(demo.url + path)
    expect(page.locator(f"#{ids.NOT_FOUND}")).to_be_visible()
    page.get_by_role("link", name="To the map").click()
    drawn(page, ids.MAP_GRAPH)


def test_a_form_that_does_not_fit_keeps_its_error_on_screen(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.url}/new")
    page.locator(f"#{ids.FORM_TOKENS}").fill("3")
    page.locator(f"#{ids.FORM_SUBMIT}").click()
    expect(page.locator(f"#{ids.ERROR_PANEL}")).to_contain_text("tokens")


def test_the_job_of_the_run_is_listed_with_its_log(page: Page, demo: Demo, run: dict[str, Any]) -> None:
    page.goto(f"{demo.url}/jobs")
    page.locator(f"#{ids.JOBS_TABLE}").get_by_role("link", name=run["job"]).click()
    expect(page.locator(f"#{ids.JOB_PANEL}")).to_contain_text("finished")
    expect(page.locator(f"#{ids.JOB_LOG} pre")).not_to_be_empty()


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("name", list(PATHS))
def test_nothing_is_wider_than_the_screen(
    page: Page, demo: Demo, run: dict[str, Any], name: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{demo.url}/runs/{run['id']}{PATHS[name]}")
    drawn(page, {"map": ids.MAP_GRAPH, "layer": ids.LAYER_GRAPH, "neuron": ids.DISTRIBUTION_GRAPH}[name])
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    boxes = page.evaluate(
        "[...document.querySelector('header').children].map(e => e.getBoundingClientRect())"
        ".filter(b => b.width > 0).map(b => [b.left, b.right])"
    )
    for (_, right), (left, _) in pairwise(boxes):
        assert right <= left


def test_every_plot_has_a_summary_in_words(page: Page, demo: Demo, run: dict[str, Any]) -> None:
    for path in PATHS.values():
        page.goto(f"{demo.url}/runs/{run['id']}{path}")
        page.wait_for_selector(".plot .js-plotly-plot")
        for plot in page.locator(".plot").all():
            assert (plot.get_attribute("aria-label") or "").endswith(".")
