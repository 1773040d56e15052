"""The main way through the dashboard: map, layer, neuron, and back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from frontend import ids
from tests.browser.conftest import Served
from tests.browser.dashboard import Dashboard


def test_from_the_map_to_a_layer_to_a_neuron_and_back(board: Dashboard, served: Served) -> None:
    wanted = served.client.map(served.run, bins=512).rows[1]
    board.open("/")
    hover = board.click_cell(ids.MAP_GRAPH, x=1, y=wanted.layer, subplot=1)
    assert f"block {wanted.layer} · {wanted.projection}" in hover
    assert f"leading neuron {wanted.leaders[0]}" in hover
    layer = f"/runs/{served.run}/layers/{wanted.layer}/{wanted.projection}"
    board.at(layer)
    expect(board.title).to_have_text(f"Block {wanted.layer} · {wanted.projection}")

    hover = board.click_cell(ids.LAYER_GRAPH, x=2, y=0)
    assert "neuron 2" in hover
    board.at(f"{layer}/neurons/2")
    expect(board.title).to_contain_text("Neuron 2")

    board.page.go_back()
    board.at(layer)
    expect(board.title).to_have_text(f"Block {wanted.layer} · {wanted.projection}")
    board.page.go_back()
    board.at("/")
    board.plot(ids.MAP_GRAPH)
    board.page.go_forward()
    board.at(layer)
    board.page.go_forward()
    board.at(f"{layer}/neurons/2")
    expect(board.title).to_contain_text("Neuron 2")


def test_a_row_of_the_whole_model_opens_its_neuron(board: Dashboard, served: Served) -> None:
    best = served.client.neurons(served.run, sort="-wd", limit=1).items[0]
    board.open(f"/runs/{served.run}")
    board.click_row(0, "projection")
    board.at(f"/runs/{served.run}/layers/{best.layer}/{best.projection}/neurons/{best.index}")


def test_a_row_of_a_layer_opens_its_neuron(board: Dashboard, served: Served) -> None:
    summary = served.client.layers(served.run)[0]
    query = {"layer": summary.layer, "projection": summary.projection}
    best = served.client.neurons(served.run, sort="-wd", limit=1, **query).items[0]
    layer = f"/runs/{served.run}/layers/{summary.layer}/{summary.projection}"
    board.open(layer)
    board.click_row(0, "wd")
    board.at(f"{layer}/neurons/{best.index}")


def test_the_table_sorts_on_the_server(board: Dashboard, served: Served) -> None:
    lowest = served.client.neurons(served.run, sort="md", limit=1).items[0]
    board.open(f"/runs/{served.run}")
    header = board.by_id(ids.NEURON_TABLE).locator(".ag-header-cell[col-id='md']")
    header.click()
    expect(header).to_have_attribute("aria-sort", "descending")
    header.click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    expect(board.row(0).locator("[col-id='index']")).to_have_text(str(lowest.index))
    assert float(board.cell(0, "md")) == float(f"{lowest.md:.3g}")


def test_a_sorted_row_opens_the_neuron_it_shows(board: Dashboard, served: Served) -> None:
    lowest = served.client.neurons(served.run, sort="skew", limit=1).items[0]
    board.open(f"/runs/{served.run}")
    header = board.by_id(ids.NEURON_TABLE).locator(".ag-header-cell[col-id='skew']")
    header.click()
    header.click()
    expect(board.row(0).locator("[col-id='index']")).to_have_text(str(lowest.index))
    board.click_row(0, "index")
    board.at(f"/runs/{served.run}/layers/{lowest.layer}/{lowest.projection}/neurons/{lowest.index}")


def test_neighbours_by_button_and_by_arrow_key(board: Dashboard, served: Served) -> None:
    summary = served.client.layers(served.run)[0]
    layer, projection = summary.layer, summary.projection
    board.open(f"{served.neuron_path(layer, projection, 0)}?y=log")
    expect(board.by_id(ids.NAV_PREVIOUS)).to_have_count(0)
    board.by_id(ids.NAV_NEXT).click()
    board.shows_neuron(served.neuron_path(layer, projection, 1))
    for key, block, index in (
        ("ArrowRight", layer, 2),
        ("ArrowLeft", layer, 1),
        ("ArrowUp", layer + 1, 1),
        ("ArrowDown", layer, 1),
    ):
        board.page.keyboard.press(key)
        board.shows_neuron(served.neuron_path(block, projection, index))
    assert board.page.url.endswith("?y=log")  # the view is kept
    assert board.plot(ids.DISTRIBUTION_GRAPH)["y"] == "log"


def test_a_random_neuron_of_the_layer(board: Dashboard, served: Served) -> None:
    summary = served.client.layers(served.run)[0]
    board.open(served.neuron_path(summary.layer, summary.projection, 0))
    board.by_id(ids.NAV_RANDOM).click()
    board.page.wait_for_url(f"**{served.layer_path(summary.layer, summary.projection)}/neurons/*")
    index = int(board.page.url.rpartition("/")[2])
    assert 0 <= index < summary.neurons
    board.shows_neuron(served.neuron_path(summary.layer, summary.projection, index))


def test_arrow_keys_do_nothing_while_typing(board: Dashboard, served: Served) -> None:
    summary = served.client.layers(served.run)[0]
    neuron = f"/runs/{served.run}/layers/{summary.layer}/{summary.projection}/neurons/1"
    board.open(neuron)
    board.page.keyboard.press("/")
    expect(board.by_id(ids.JUMP)).to_be_focused()
    board.page.keyboard.type("0.x")
    board.page.keyboard.press("ArrowLeft")
    board.page.keyboard.press("ArrowRight")
    board.at(neuron)
    assert board.by_id(ids.JUMP).input_value() == "0.x"


def test_the_jump_box_goes_to_a_neuron_and_refuses_nonsense(board: Dashboard, served: Served) -> None:
    summary = served.client.layers(served.run)[-1]
    board.open("/")
    box = board.by_id(ids.JUMP)
    box.fill("nonsense")
    box.press("Enter")
    expect(board.page.get_by_text(re.compile("block.projection.neuron, e.g."))).to_be_visible()
    box.fill(f"{summary.layer}.{summary.projection}.3")
    box.press("Enter")
    board.at(f"/runs/{served.run}/layers/{summary.layer}/{summary.projection}/neurons/3")
    expect(board.title).to_contain_text("Neuron 3")


def test_layers_are_switched_by_projection_and_depth(board: Dashboard, served: Served) -> None:
    layers = served.client.layers(served.run)
    first, other = layers[0], layers[1]
    board.open(f"/runs/{served.run}/layers/{first.layer}/{first.projection}?colour=kurtosis")
    board.page.get_by_role("link", name=other.projection, exact=True).click()
    board.at(f"/runs/{served.run}/layers/{other.layer}/{other.projection}")
    expect(board.title).to_contain_text(other.projection)
    assert "colour=kurtosis" in board.page.url
    board.by_id(ids.NAV_NEXT).click()
    board.at(f"/runs/{served.run}/layers/{other.layer + 1}/{other.projection}")
    expect(board.title).to_contain_text(f"Block {other.layer + 1}")
    assert "colour=kurtosis" in board.page.url


def test_breadcrumbs_lead_up(board: Dashboard, served: Served) -> None:
    summary = served.client.layers(served.run)[0]
    layer = f"/runs/{served.run}/layers/{summary.layer}/{summary.projection}"
    board.open(f"{layer}/neurons/1")
    crumbs = board.by_id(ids.BREADCRUMBS)
    crumbs.get_by_role("link", name=f"block {summary.layer}").click()
    board.at(layer)
    crumbs.get_by_role("link", name="Map").click()
    board.at(f"/runs/{served.run}")


def test_the_job_of_the_run_is_listed_with_its_log(board: Dashboard, served: Served) -> None:
    job = served.client.run(served.run).job
    if job is None or not any(one.id == job for one in served.client.jobs().items):
        pytest.skip("the job of this run is gone from the queue")
    board.open("/jobs")
    board.by_id(ids.JOBS_TABLE).locator(f"a[href='/jobs/{job}']").click()
    board.at(f"/jobs/{job}")
    expect(board.by_id(ids.JOB_PANEL)).to_contain_text("finished")
    expect(board.by_id(ids.JOB_LOG).locator("pre")).not_to_be_empty()
