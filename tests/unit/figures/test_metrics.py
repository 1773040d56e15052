"""Which metrics can be chosen, and how their values become colours."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.schemas.layer import Metric
from app.schemas.variant import VariantKind
from frontend import theme
from frontend.figures import layer as layer_figures
from frontend.figures import map as map_figures
from frontend.figures import metrics
from tests.unit.figures import fake_client as fake
from tests.unit.figures import fake_variants

BOTH = set(VariantKind)
PLACE = (fake_variants.LAYER, fake_variants.PROJECTION)


def test_every_metric_has_a_name_for_people_of_its_own() -> None:
    assert set(theme.LABELS) == set(Metric)
    assert len(set(theme.LABELS.values())) == len(Metric)


@pytest.mark.parametrize("have", [set(), {VariantKind.pruning}, {VariantKind.expansion}, BOTH])
def test_a_metric_that_needs_what_is_not_chosen_cannot_be_taken_and_says_why(have: set[VariantKind]) -> None:
    items = [item for group in metrics.choices(have) for item in group["items"]]
    assert [Metric(item["value"]) for item in items] == list(Metric)
    for item in items:
        lacks = bool(Metric(item["value"]).needs - have)
        assert item["disabled"] is lacks
        assert ("needs" in item["label"]) is lacks
        assert bool(metrics.lacking(Metric(item["value"]), have)) is lacks


def test_what_is_lacking_is_named() -> None:
    assert metrics.lacking(Metric.ri, ()) == "RI needs a pruning and an expansion: choose them above."
    assert metrics.lacking(Metric.ri, [VariantKind.pruning]) == "RI needs an expansion: choose it above."
    assert metrics.named("nonsense") is metrics.named(None) is Metric.wd


def test_ri_is_logarithmic_and_centred_on_1() -> None:
    values = np.asarray([0.5, 1.0, 2.0, 4.0, np.nan, 0.0])
    colours = metrics.Colours.of(Metric.ri, values, (0.0, 1.0))
    assert colours.ends == (-2.0, 2.0)
    assert colours.scale == theme.DIVERGING
    assert colours.cells(values)[:4].tolist() == [-1.0, 0.0, 1.0, 2.0]
    bar = colours.bar()
    assert bar["ticktext"] == ["0.25", "0.5", "1", "2", "4"]
    assert bar["tickvals"] == [-2.0, -1.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize("reach", [1.001, 1.03, 1.3, 3, 100])
def test_ticks_of_ri_stay_within_its_ends(reach: float) -> None:
    colours = metrics.Colours(Metric.ri, 1 / reach, reach)
    ticks = colours.bar()["tickvals"]
    assert 1 <= len(ticks) <= 9
    assert 0 in ticks
    assert all(abs(tick) <= math.log2(reach) + 1e-9 for tick in ticks)


def test_rows_that_are_not_done_are_hatched_and_can_be_clicked() -> None:
    run_map = fake.run_map(Metric.ri, 16, True, True)
    undone = {
        (row.layer, row.projection): "not pruned yet"
        for row in run_map.rows
        if (row.layer, row.projection) != PLACE
    }
    figure = map_figures.map_figure(run_map, undone)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert sum(len(bar.y) for bar in bars) == len(undone)
    assert all(bar.marker.pattern.shape == "/" for bar in bars)
    up = next(bar for bar in bars if bar.name == "up_proj")
    assert list(up.y) == [0, 1, 2, 4, 5]
    assert list(up.customdata) == ["not pruned yet"] * 5
    names = [trace.name for trace in figure.data]
    assert set(names) == set(map_figures.panels(run_map))  # a click's curve tells its projection


def test_the_map_of_ri_holds_logarithms_and_says_the_value() -> None:
    run_map = fake.run_map(Metric.ri, 16, True, True)
    panel = next(
        t for t in map_figures.map_figure(run_map).data if t.name == "up_proj" and t.type == "heatmap"
    )
    row = next(row for row in run_map.rows if (row.layer, row.projection) == PLACE)
    line = list(panel.y).index(row.layer)
    assert panel.z[line] == pytest.approx(np.log2(np.asarray(row.values, dtype=float)), rel=1e-5)
    assert panel.customdata[line, :, 3] == pytest.approx(np.asarray(row.values, dtype=float))
    assert "customdata[3]" in panel.hovertemplate


@pytest.mark.parametrize("colour", [Metric.ri, Metric.pruned_w1, Metric.weighted_md])
def test_the_grid_shows_what_was_done(colour: Metric) -> None:
    wanted = layer_figures.wanted(colour, BOTH)
    assert colour in wanted
    values = fake.layer_values(*PLACE, [str(metric) for metric in wanted], True, True)
    trace = layer_figures.grid_figure(values, colour).data[0]
    shown = np.asarray(trace.z).reshape(-1)[: values.neurons]
    expected = np.asarray(values.metrics[colour], dtype=float)
    np.testing.assert_allclose(
        shown, np.log2(expected) if colour is Metric.ri else expected, rtol=1e-4, atol=1e-5
    )
    for metric in (Metric.ri, Metric.pruned_rmse, Metric.expanded_w1):
        assert theme.LABELS[metric] in trace.hovertemplate


def test_the_hover_text_names_no_metric_without_values() -> None:
    values = fake.layer_values(0, "up_proj", [str(m) for m in layer_figures.wanted(Metric.wd, BOTH)], True)
    trace = layer_figures.grid_figure(values, Metric.wd).data[0]
    assert "RI" not in trace.hovertemplate


def test_neurons_of_a_layer_not_done_are_blank_and_lead_to_their_pages() -> None:
    wanted = [str(metric) for metric in layer_figures.wanted(Metric.ri, BOTH)]
    values = fake.layer_values(0, "up_proj", wanted, True, True)
    trace = layer_figures.grid_figure(values, Metric.ri, "not pruned yet").data[0]
    assert not trace.showscale
    assert len({colour for _, colour in trace.colorscale}) == 1
    assert np.isfinite(np.asarray(trace.z).reshape(-1)[: values.neurons]).all()
    assert trace.hovertemplate.endswith("not pruned yet<extra></extra>")


def test_only_what_is_chosen_is_asked_for() -> None:
    assert layer_figures.wanted(Metric.wd, ()) == list(layer_figures.HOVER)
    assert Metric.ri not in layer_figures.wanted(Metric.wd, [VariantKind.pruning])
    assert Metric.pruned_w1 in layer_figures.wanted(Metric.wd, [VariantKind.pruning])
