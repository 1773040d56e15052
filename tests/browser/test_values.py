"""What is on the screen is what the API answers."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from app.schemas.layer import Metric
from app.schemas.neuron import NeuronDetail
from frontend import ids
from tests.browser.conftest import Served
from tests.browser.dashboard import Dashboard, shown_number

NUMBERS = (
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


@pytest.fixture(scope="module")
def best(served: Served) -> NeuronDetail:
    """The neuron of highest WD."""
    row = served.client.neurons(served.run, sort="-wd", limit=1).items[0]
    return served.client.neuron(served.run, row.layer, row.projection, row.index)


def _path(served: Served, neuron: NeuronDetail) -> str:
    return f"/runs/{served.run}/layers/{neuron.layer}/{neuron.projection}/neurons/{neuron.index}"


def test_numbers_of_a_neuron(board: Dashboard, served: Served, best: NeuronDetail) -> None:
    board.open(_path(served, best))
    for name in NUMBERS:
        shown, full = board.number(name)
        value = getattr(best, name)
        assert full == value, name
        assert shown == float(f"{value:.3g}"), name
    assert board.number("gaussian_floor")[1] == best.provenance.gaussian_floor
    assert board.number("rank_layer") == (best.rank_layer, best.rank_layer)
    assert board.number("rank_model") == (1, 1)
    title = board.by_id("distribution").locator("h2")
    expect(title).to_contain_text(f"WD {best.wd:.3g} (floor {best.provenance.gaussian_floor:.3g})")


def test_bars_of_a_neuron_are_its_histogram(board: Dashboard, served: Served, best: NeuronDetail) -> None:
    board.open(_path(served, best))
    assert board.plot(ids.DISTRIBUTION_GRAPH)["data"] == ["bar", "scatter"]
    heights, places = board.page.evaluate(
        "id => { const bars = document.querySelector(`#${id} .js-plotly-plot`)._fullData[0];"
        " return [Array.from(bars.y), Array.from(bars.x)]; }",
        ids.DISTRIBUTION_GRAPH,
    )
    spread = best.distribution
    width = (spread.high - spread.low) / len(spread.counts)
    assert sum(heights) == sum(spread.counts) == best.provenance.tokens
    if len(heights) == len(spread.counts):
        assert heights == spread.counts
        assert places[0] == pytest.approx(spread.low + width / 2, abs=width / 10)


def test_tokens_of_a_neuron(board: Dashboard, served: Served, best: NeuronDetail) -> None:
    for kind in ("high", "low", "random"):
        board.open(_path(served, best) + ("" if kind == "high" else f"?tokens={kind}"))
        wanted = getattr(best.tokens, kind)
        lines = board.by_id(ids.TOKENS).locator("li")
        expect(lines).to_have_count(len(wanted))
        shown = [shown_number(text) for text in lines.locator(".token-value").all_inner_texts()]
        assert shown == [float(f"{example.value:.3g}") for example in wanted]
        marks = [text.strip("⏎⇥␣ ") for text in lines.locator("mark").all_inner_texts()]
        assert marks == [" ".join(example.token.split()) for example in wanted]


def test_provenance_names_everything_and_the_commands_use_this_address(
    board: Dashboard, served: Served, best: NeuronDetail
) -> None:
    board.open(_path(served, best))
    card = board.by_id(ids.PROVENANCE)
    made = best.provenance
    for text in (
        made.run,
        made.model,
        made.model_fingerprint,
        made.corpus,
        f"{made.tokens:,}",
        f"{made.pairs:,}",
    ):
        expect(card).to_contain_text(text)
    expect(card.locator("pre").first).to_contain_text(f"{served.url}/api/v1{_path(served, best)}")


def test_numbers_of_a_run(board: Dashboard, served: Served) -> None:
    run = served.client.run(served.run)
    board.open(f"/runs/{served.run}")
    tiles = board.by_id(ids.TILES)
    for text in (run.model.title, f"{run.tokens:,}", f"{run.neurons:,}", f"{run.gaussian_floor:.3g}"):
        expect(tiles).to_contain_text(text)


def test_first_rows_of_the_ranked_table(board: Dashboard, served: Served) -> None:
    board.open(f"/runs/{served.run}")
    for number, row in enumerate(served.client.neurons(served.run, sort="-wd", limit=5).items):
        assert int(board.cell(number, "layer")) == row.layer
        assert board.cell(number, "projection") == row.projection
        assert int(board.cell(number, "index")) == row.index
        assert shown_number(board.cell(number, "wd")) == float(f"{row.wd:.3g}")


@pytest.mark.parametrize("metric", ["wd", "kurtosis", "entropy"])
def test_the_map_draws_the_service_s_values(board: Dashboard, served: Served, metric: str) -> None:
    board.open(f"/runs/{served.run}" + ("" if metric == "wd" else f"?metric={metric}"))
    assert "heatmap" in board.plot(ids.MAP_GRAPH)["data"]
    drawn = board.page.evaluate(
        "id => document.querySelector(`#${id} .js-plotly-plot`)._fullData"
        ".map(t => [t.name, t.z.map(row => Array.from(row))])",
        ids.MAP_GRAPH,
    )
    wanted = served.client.map(served.run, metric=metric, bins=512)
    for name, rows in drawn:
        expected = [row.values for row in wanted.rows if row.projection == name]
        for line, values in zip(rows, expected, strict=True):
            assert line[: len(values)] == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize("colour", ["wd", "md", "kurtosis", "mean_abs_weight"])
def test_the_grid_draws_every_neuron(board: Dashboard, served: Served, colour: str) -> None:
    summary = served.client.layers(served.run)[0]
    board.open(f"/runs/{served.run}/layers/{summary.layer}/{summary.projection}?colour={colour}")
    board.plot(ids.LAYER_GRAPH)
    drawn = board.page.evaluate(
        "id => document.querySelector(`#${id} .js-plotly-plot`)._fullData[0].z.map(row => Array.from(row)).flat()",
        ids.LAYER_GRAPH,
    )
    values = served.client.layer(served.run, summary.layer, summary.projection, [str(Metric(colour))])
    known = values.metrics[colour]
    assert drawn[: len(known)] == pytest.approx(known, rel=1e-5, nan_ok=True)
