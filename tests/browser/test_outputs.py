"""A neuron's stored outputs on the screen: asked for by drawing a range, followed, shown, handed out."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from frontend import ids
from tests.browser.conftest import Made, Served, Visit
from tests.browser.dashboard import Dashboard, shown_number

WAIT_SECONDS = 60


def brush(board: Dashboard, low: float, high: float) -> None:
    """Draw a range across the distribution, from `low` to `high` on its axis."""
    board.plot(ids.DISTRIBUTION_GRAPH)
    board.by_id(ids.DISTRIBUTION_GRAPH).scroll_into_view_if_needed()
    places = board.page.evaluate(
        """([id, ends]) => { const plot = document.querySelector(`#${id} .js-plotly-plot`);
          const box = plot.getBoundingClientRect(), axis = plot._fullLayout.xaxis;
          return [...ends.map(end => box.x + axis._offset + axis.d2p(end)), box.y + plot._fullLayout.yaxis._offset + 60]; }""",
        [ids.DISTRIBUTION_GRAPH, [low, high]],
    )
    mouse = board.page.mouse
    mouse.move(places[0], places[2])
    mouse.down()
    mouse.move((places[0] + places[1]) / 2, places[2] + 20, steps=4)
    mouse.move(places[1], places[2] + 40, steps=4)
    mouse.up()


def values(tokens: Locator) -> list[float]:
    return [shown_number(text) for text in tokens.locator(".token-value").all_inner_texts()]


@pytest.fixture
def bare(made: Made) -> Made:
    """The layer without stored outputs."""
    client, served = made.served.client, made.served
    if client.outputs(served.run, made.layer, made.projection).stored:
        client.delete_outputs(served.run, made.layer, made.projection)
    return made


def test_a_drawn_range_shows_its_tokens_and_the_expert_of_each(board: Dashboard, bare: Made) -> None:
    client, run = bare.served.client, bare.served.run
    address = (run, bare.layer, bare.projection, 3)
    neuron = client.neuron(*address)
    board.open(bare.neuron_path(3) + bare.query)
    expect(board.by_id(ids.INTERVAL_REMARK)).to_contain_text("needs the layer's outputs")
    middle, wide = neuron.mean, neuron.std
    brush(board, middle + 0.5 * wide, middle + 1.5 * wide)
    expect(board.page).to_have_url(re.compile(r"tokens=range&low=.*&high="), timeout=WAIT_SECONDS * 1000)
    tokens = board.by_id(ids.TOKENS)
    expect(tokens.locator(".range-text")).to_be_visible(timeout=WAIT_SECONDS * 1000)
    asked = dict(re.findall(r"(low|high)=([-\d.e]+)", board.page.url))
    low, high = float(asked["low"]), float(asked["high"])
    assert low == pytest.approx(middle + 0.5 * wide, abs=0.1 * wide)
    assert high == pytest.approx(middle + 1.5 * wide, abs=0.1 * wide)
    found = client.tokens(*address, low=low, high=high, expansion=bare.expansion, limit=25)
    assert values(tokens) == [float(f"{token.value:.3g}") for token in found.items]
    chips = tokens.locator("li .expert-chip").all_inner_texts()
    assert chips == [str(token.expert) for token in found.items]
    expect(tokens.locator(".range-text")).to_contain_text(f"{found.total:,} of {found.tokens:,} tokens")
    # The neighbour is asked the same, and its outputs are there at once.
    board.page.keyboard.press("Escape")
    board.page.locator("h1").click()
    board.page.keyboard.press("ArrowRight")
    board.shows_neuron(bare.neuron_path(4))
    expect(board.page).to_have_url(re.compile("tokens=range&low="))
    expect(tokens.locator(".range-text")).to_be_visible()


def test_interval_and_pairs_come_with_the_outputs(board: Dashboard, served: Served, bare: Made) -> None:
    address = (served.run, bare.layer, bare.projection, 5)
    board.open(bare.neuron_path(5))
    pairs = board.by_id(ids.PAIRS)
    pairs.get_by_role("button", name="Store this layer's outputs").click()
    expect(board.by_id(ids.PAIRS_GRAPH)).to_be_visible(timeout=WAIT_SECONDS * 1000)
    found = served.client.pairs(*address)
    board.plot(ids.PAIRS_GRAPH)
    drawn = board.page.evaluate(
        "id => Array.from(document.querySelector(`#${id} .js-plotly-plot`)._fullData[0].y)", ids.PAIRS_GRAPH
    )
    assert drawn == pytest.approx(found.output_distances, rel=1e-6)
    hardest = pairs.locator(".hard-pairs > li")
    expect(hardest).to_have_count(len(found.hardest))
    marks = [text.strip("⏎⇥␣ ") for text in hardest.first.locator("mark").all_inner_texts()]
    assert marks == [
        " ".join(token.token.split()) for token in (found.hardest[0].first, found.hardest[0].second)
    ]
    expect(pairs).to_contain_text("does not compare across layers")
    interval = served.client.wd_interval(*address)
    assert interval.low is not None
    assert interval.high is not None
    cell = board.by_id(ids.number("wd_interval"))
    expect(cell).to_have_text(f"{interval.low:#.3g} to {interval.high:#.3g}")
    expect(board.by_id(ids.INTERVAL_REMARK)).to_contain_text(f"resamples of {interval.windows}")


def test_axes_bins_and_bands_are_in_the_address(board: Dashboard, served: Served, bare: Made) -> None:
    served.client.store_outputs(served.run, bare.layer, bare.projection)
    board.open(bare.neuron_path(5))
    distribution = board.by_id("distribution")
    for name, part in (("standardised", "x=standard"), ("64", "bins=64"), ("log", "y=log")):
        distribution.get_by_role("link", name=name, exact=True).click()
        expect(board.page).to_have_url(re.compile(part))
        board.settled()
    shown = board.page.evaluate(
        "id => { const p = document.querySelector(`#${id} .js-plotly-plot`);"
        " return [p._fullData[0].y.length, p._fullLayout.yaxis.type, p._fullLayout.xaxis.title.text]; }",
        ids.DISTRIBUTION_GRAPH,
    )
    assert shown[:2] == [64, "log"]
    assert "standard deviations" in shown[2]
    tokens = board.by_id(ids.TOKENS)
    tokens.get_by_role("link", name="by quantile").click()
    tokens.get_by_role("link", name="25–50 %").click()
    expect(board.page).to_have_url(re.compile("band=3"))
    expect(tokens.locator(".range-text")).to_be_visible(timeout=WAIT_SECONDS * 1000)
    found = served.client.tokens(
        served.run,
        bare.layer,
        bare.projection,
        5,
        from_quantile=0.25,
        to_quantile=0.5,
        sort="random",
        limit=25,
    )
    assert values(tokens) == [float(f"{token.value:.3g}") for token in found.items]
    board.page.get_by_role("link", name="random", exact=True).first.click()
    expect(board.page).to_have_url(re.compile("bins=64"))


def test_what_a_card_shows_is_handed_out(visit: Visit, served: Served, bare: Made, tmp_path: Path) -> None:
    board = visit(served.url, permissions=["clipboard-read", "clipboard-write"], accept_downloads=True)
    board.open(bare.neuron_path(5))
    board.plot(ids.DISTRIBUTION_GRAPH)
    card = board.by_id("distribution")
    neuron = served.client.neuron(served.run, bare.layer, bare.projection, 5)

    def saved(name: str) -> bytes:
        if not card.locator("details[open]").count():
            card.get_by_text("export", exact=True).click()
        with board.page.expect_download() as download:
            card.get_by_role("button", name=name, exact=True).click()
        path = tmp_path / name
        download.value.save_as(path)
        return path.read_bytes()

    rows = list(csv.DictReader(saved("CSV").decode().splitlines()))
    assert [int(row["dense"]) for row in rows] == neuron.distribution.counts
    assert saved("PNG").startswith(b"\x89PNG")
    assert b"<svg" in saved("SVG")[:400]
    card.get_by_role("button", name="copy as curl").click()
    expect(card.get_by_text("copied")).to_be_visible()
    command = board.page.evaluate("navigator.clipboard.readText()")
    assert command == f"curl -s {served.url}/api/v1{bare.neuron_path(5)}"
    href = card.get_by_role("link", name="JSON").get_attribute("href")
    answer = board.page.request.get(f"{served.url}{href}")
    assert json.loads(answer.body()) == json.loads(neuron.model_dump_json())
    board.page.keyboard.press("Escape")
    expect(card.locator("details[open]")).to_have_count(0)
