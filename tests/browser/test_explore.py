"""Looking closer: a part of the map, neurons above a WD, two metrics, one selection in all of a layer's plots."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from frontend import ids
from tests.browser.conftest import Served
from tests.browser.dashboard import CELL, Dashboard

TRACE = """([id, trace]) => {
  const plot = document.querySelector(`#${id} .js-plotly-plot`), t = plot && plot._fullData && plot._fullData[trace];
  return t && t.x ? [Array.from(t.x), Array.from(t.y)] : null;
}"""
MARKED, SELECTED = 1, 2


def _drag(board: Dashboard, start: tuple[float, float], stop: tuple[float, float], subplot: int) -> None:
    board.plot(ids.MAP_GRAPH)
    board.by_id(ids.MAP_GRAPH).scroll_into_view_if_needed()
    ends = [board.page.evaluate(CELL, [ids.MAP_GRAPH, subplot, *place]) for place in (start, stop)]
    board.page.mouse.move(*ends[0])
    board.page.mouse.down()
    board.page.mouse.move(*ends[1], steps=6)
    board.page.mouse.up()


def test_a_part_of_the_map_is_asked_for_and_left_again(board: Dashboard, served: Served) -> None:
    board.open(served.run_path)
    expect(board.by_id(ids.SHARE_SLIDER)).to_be_visible()
    assert (
        board.page.url == served.url + served.run_path
    )  # the slider leaves the address as it is until it is moved
    _drag(board, (2.6, 0.7), (12.4, 2.3), subplot=1)
    board.page.wait_for_url(re.compile("blocks=1-2"))
    expect(board.by_id(ids.MAP_WHOLE)).to_be_visible()
    assert "ranks=3-12" in board.page.url
    assert "projection=up_proj" in board.page.url
    wanted = served.client.map(
        served.run, projection="up_proj", first_layer=1, last_layer=2, first_rank=3, last_rank=12
    )
    hover = board.click_cell(ids.MAP_GRAPH, x=5, y=2)
    leader = wanted.rows[1].leaders[2]
    assert f"leading neuron {leader}" in hover
    board.at(served.neuron_path(2, "up_proj", leader))  # a cell is one neuron by now

    board.page.go_back()
    board.by_id(ids.MAP_WHOLE).click()
    expect(board.page).not_to_have_url(re.compile("blocks=|ranks="))
    expect(board.by_id(ids.MAP_WHOLE)).to_have_count(0)
    board.open(f"{served.run_path}?blocks=900-901")
    expect(board.by_id(ids.ERROR_PANEL)).to_be_visible()
    board.by_id(ids.MAP_WHOLE).click()
    board.plot(ids.MAP_GRAPH)


def test_the_slider_counts_the_neurons_of_at_least_a_wd(board: Dashboard, served: Served) -> None:
    layers = served.client.layers(served.run)
    first = layers[0]
    values = served.client.layer(served.run, first.layer, first.projection).metrics["wd"]
    board.open(served.layer_path(first.layer, first.projection))
    expect(board.by_id(ids.LAYER_COUNT)).to_contain_text(f"{first.wasserstein} of {first.neurons:,} neurons")
    slider = board.by_id(ids.LAYER_THRESHOLD).get_by_role("slider")
    slider.focus()
    board.page.keyboard.press("ArrowLeft")
    board.page.wait_for_url(re.compile(r"from=[0-9.]+"))
    wd = float(re.findall(r"from=([0-9.]+)", board.page.url)[0])
    above = [index for index, value in enumerate(values) if value is not None and value >= wd]
    expect(board.by_id(ids.LAYER_COUNT)).to_contain_text(f"{len(above)} of {first.neurons:,} neurons")
    expect(board.page.locator(f"#{ids.LAYER_GRAPH} .scatterlayer .point")).to_have_count(len(above))
    board.by_id(ids.LAYER_TOP).click()
    expect(board.page).not_to_have_url(re.compile("from="))
    expect(board.by_id(ids.LAYER_COUNT)).to_contain_text(f"{first.wasserstein} of")

    board.open(f"{served.run_path}?wd=0.05")
    counted = sum(layer.at_least or 0 for layer in served.client.layers(served.run, min_wd=0.05))
    expect(board.by_id(ids.SHARE_BODY)).to_contain_text(
        f"{counted:,} of {sum(layer.neurons for layer in layers):,} neurons"
    )


def test_one_selection_in_scatter_grid_and_table(board: Dashboard, served: Served) -> None:
    first = served.client.layers(served.run)[0]
    metrics = ["wd", "kurtosis"]
    values = served.client.layer(served.run, first.layer, first.projection, metrics).metrics
    found = served.client.correlation(served.run, first.layer, first.projection, "kurtosis", "wd")
    layer = served.layer_path(first.layer, first.projection)
    board.open(f"{layer}?x=kurtosis&y=wd")
    expect(board.by_id(ids.CORRELATION)).to_contain_text(f"Pearson {found.pearson:.3g}".replace("-", "−"))
    expect(board.by_id(ids.CORRELATION)).to_contain_text(f"over {found.n:,} neurons")

    best = max(range(first.neurons), key=lambda index: values["kurtosis"][index] or 0.0)
    board.click_cell(ids.LAYER_SCATTER, values["kurtosis"][best], values["wd"][best])
    board.page.wait_for_url(re.compile(rf"selected={best}(&|$)"))
    expect(board.by_id(ids.LAYER_SELECTED)).to_contain_text(f"neuron {best}:")
    for plot in (ids.LAYER_GRAPH, ids.LAYER_SCATTER):
        board.page.wait_for_function(f"a => (({TRACE})(a) || [[]])[0].length === 1", arg=[plot, SELECTED])
    assert board.page.evaluate(TRACE, [ids.LAYER_SCATTER, SELECTED])[0] == [values["kurtosis"][best]]
    row = board.by_id(ids.NEURON_TABLE).locator(f".ag-row[row-id$='.{best}']").first
    expect(row).to_be_visible()
    expect(row).to_have_css("box-shadow", re.compile("rgb"))

    row.locator("[col-id='wd']").focus()
    board.page.keyboard.press("ArrowDown")
    expect(board.page).not_to_have_url(re.compile(rf"selected={best}(&|$)"))
    board.page.wait_for_url(re.compile(r"selected=\d+"))
    chosen = int(re.findall(r"selected=(\d+)", board.page.url)[0])
    expect(board.by_id(ids.LAYER_SELECTED)).to_contain_text(f"neuron {chosen}:")
    board.page.keyboard.press("Enter")
    board.at(f"{layer}/neurons/{chosen}")
    board.page.go_back()
    board.at(layer)
    expect(board.by_id(ids.LAYER_SELECTED)).to_contain_text(f"neuron {chosen}:")
