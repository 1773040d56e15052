"""A sweep from its form to the slider, and a pinned neuron beside another, in a browser with a real worker."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from frontend import ids
from tests.browser.conftest import Served
from tests.browser.dashboard import Dashboard

COUNTS = "() => document.querySelector('#sweep-graph .js-plotly-plot')._fullData.map(t => Array.from(t.y))"
AXES = (
    "() => { const l = document.querySelector('#sweep-graph .js-plotly-plot')._fullLayout;"
    " return [l.xaxis.range, l.yaxis.range]; }"
)


def test_a_sweep_is_started_followed_and_moved_through(board: Dashboard, served: Served) -> None:
    where = served.client.layers(served.run)[-1]
    neuron = served.neuron_path(where.layer, where.projection, 2)
    board.open(neuron)
    board.by_id(ids.SWEEP_LINK).click()
    board.at(f"{neuron}/sweep")
    page, form = board.page, board.page.locator(".sweep-form")
    form.get_by_label("Sparsities, %").fill("0, 50, 90, 900")
    expect(form).to_contain_text("Between 0 and 100 %.")
    expect(board.by_id(ids.SWEEP_SUBMIT)).to_be_disabled()
    form.get_by_label("Sparsities, %").fill("0, 50, 90")
    form.get_by_label("Experts", exact=True).fill("3")
    form.get_by_label("Numbers of experts").fill("1, 2, 3")
    form.get_by_label("Patterns N:M").fill("2:4")
    expect(board.by_id(ids.SWEEP_ESTIMATE)).to_contain_text(re.compile("About .* of memory, .* in the store"))
    board.by_id(ids.SWEEP_SUBMIT).click()
    page.wait_for_url(re.compile(r"sweep=s-[0-9a-f]{12}"))
    expect(board.by_id(ids.SWEEP_SLIDER)).to_be_visible(timeout=120_000)  # by itself: nobody reloads

    sweep = served.client.sweeps(served.run, layer=where.layer, projection=where.projection).items[0]
    found = served.client.neuron_sweep(served.run, where.layer, where.projection, 2, sweep.id)
    rmse = {point.title: point.counts for point in found.points}
    page.wait_for_function("() => document.querySelector('#sweep-graph .js-plotly-plot .main-svg') !== null")
    axes = page.evaluate(AXES)
    thumb = board.by_id(ids.SWEEP_SLIDER).get_by_role("slider")
    thumb.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(board.by_id(ids.SWEEP_WORDS)).to_contain_text("3 experts 90 %")
    assert page.evaluate(COUNTS)[1:] == [rmse["SparseGPT 90 %"], rmse["3 experts 90 %"]]
    assert page.evaluate(AXES) == axes
    assert "zeros=90" in page.url
    address = page.url
    board.by_id(ids.NAV_NEXT).click()
    board.at(served.neuron_path(where.layer, where.projection, 3) + "/sweep")
    expect(board.by_id(ids.SWEEP_WORDS)).to_contain_text("3 experts 90 %")
    page.goto(address)  # pasted, it shows the same
    board.settled()
    expect(board.by_id(ids.SWEEP_WORDS)).to_contain_text("3 experts 90 %")
    expect(page.locator(".sweep-row.current th")).to_have_text("90 %")


def test_a_pinned_neuron_stays_beside_the_next(board: Dashboard, served: Served) -> None:
    where = served.client.layers(served.run)[0]
    board.open(served.neuron_path(where.layer, where.projection, 1))
    board.page.keyboard.press("p")
    expect(board.by_id(ids.PINNED)).to_contain_text(f"neuron 1 of block {where.layer}")
    board.page.keyboard.press("ArrowRight")
    board.at(served.neuron_path(where.layer, where.projection, 2))
    expect(board.by_id(ids.COMPARE_NUMBERS)).to_contain_text("difference")
    own, pinned = (served.client.neuron(served.run, where.layer, where.projection, index) for index in (2, 1))
    cells = board.by_id(ids.COMPARE_NUMBERS).locator("tbody tr").first.locator("td")
    shown = [cells.nth(place).get_attribute("title") for place in range(3)]
    assert own.wd is not None
    assert pinned.wd is not None
    assert shown == [repr(own.wd), repr(pinned.wd), repr(own.wd - pinned.wd)]
    board.page.get_by_role("link", name="Map").first.click()
    board.settled()
    assert "pin=" in board.page.url
    board.page.go_back()
    board.page.locator(".unpin").click()
    expect(board.by_id(ids.PINNED)).to_have_count(0)
    assert "pin=" not in board.page.url
