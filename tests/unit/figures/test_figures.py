"""What the figures show, compared with the records they were made from."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import pytest

from app.schemas.layer import Metric
from frontend import theme
from frontend.figures import layer as layer_figures
from frontend.figures import map as map_figures
from frontend.figures import neuron as neuron_figures
from frontend.figures import scatter, trend
from tests.unit.figures import fake_client as fake

WANTED = [str(metric) for metric in layer_figures.HOVER]


def test_the_map_has_a_panel_per_projection_and_a_row_per_block() -> None:
    run_map = fake.run_map(Metric.wd, 512)
    figure = map_figures.map_figure(run_map)
    assert [trace.name for trace in figure.data] == map_figures.panels(run_map) == list(fake.NEURONS)
    row = next(row for row in run_map.rows if row.layer == 4 and row.projection == "down_proj")
    panel = figure.data[2]
    assert list(panel.y) == list(range(fake.BLOCKS))
    assert panel.z[4] == pytest.approx(row.values)
    assert panel.customdata[4, 0].tolist() == [1, 1, row.leaders[0]]
    assert panel.customdata[4, -1].tolist()[1] == fake.NEURONS["down_proj"]


def test_the_map_shows_gaps_where_nothing_is_known() -> None:
    run_map = fake.run_map(Metric.wd, 16)
    run_map.rows[0].values[-1] = None
    assert math.isnan(map_figures.map_figure(run_map).data[0].z[0][-1])


def test_an_empty_map_says_so() -> None:
    run_map = fake.run_map(Metric.wd, 16).model_copy(update={"rows": [], "minimum": None, "maximum": None})
    assert len(map_figures.map_figure(run_map).data) == 0
    assert "no neuron has a value" in map_figures.map_summary(run_map)


@pytest.mark.parametrize("neurons", [1, 2, 96, 97, 576, 1536, 14336])
def test_the_grid_is_near_square_and_every_cell_leads_to_its_neuron(neurons: int) -> None:
    rows, columns = layer_figures.grid_shape(neurons)
    assert rows * columns >= neurons
    assert abs(rows - columns) <= 1
    for index in {0, neurons // 2, neurons - 1}:
        assert layer_figures.neuron_at(index // columns, index % columns, neurons) == index
    assert layer_figures.neuron_at(rows, columns, neurons) is None


@pytest.mark.parametrize("colour", layer_figures.HOVER)
def test_the_grid_shows_each_neuron_in_the_order_of_its_index(colour: Metric) -> None:
    values = fake.layer_values(2, "up_proj", WANTED)
    trace = layer_figures.grid_figure(values, colour).data[0]
    shown = np.asarray(trace.z).reshape(-1)[: values.neurons]
    expected = [np.nan if value is None else value for value in values.metrics[colour]]
    np.testing.assert_allclose(shown, expected, rtol=1e-6)
    assert np.asarray(trace.customdata).reshape(-1, 5)[: values.neurons, 0].tolist() == list(
        range(values.neurons)
    )


def test_a_layer_of_constant_neurons_is_drawn() -> None:
    values = fake.layer_values(0, "down_proj", WANTED)
    values.metrics["wd"] = [None] * values.neurons
    figure = layer_figures.grid_figure(values, Metric.wd)
    assert np.isnan(np.asarray(figure.data[0].z)).all()
    assert "none has a WD" in layer_figures.grid_summary(values, Metric.wd)
    assert sum(layer_figures.histogram_figure(values, None, 0.03).data[0].y) == 0


def test_the_histogram_counts_every_neuron_and_marks_the_threshold() -> None:
    values = fake.layer_values(1, "gate_proj", WANTED)
    figure = layer_figures.histogram_figure(values, fake.FLOOR, 0.03)
    assert sum(figure.data[0].y) == values.neurons - values.summary.constant
    assert {shape.x0 for shape in figure.layout.shapes} == {fake.FLOOR, values.summary.threshold}
    assert any("top 3 %" in note.text for note in figure.layout.annotations)


@pytest.mark.parametrize("log", [False, True])
def test_the_gaussian_has_the_area_of_the_histogram(log: bool) -> None:
    neuron = fake.detail(fake.RUN, 3, "up_proj", 12)
    bars, curve = neuron_figures.distribution_figure(neuron, log).data
    assert list(bars.y) == neuron.distribution.counts
    area = float(np.trapezoid(np.nan_to_num(curve.y), curve.x)) / bars.width
    assert area == pytest.approx(sum(neuron.distribution.counts), rel=0.01)
    assert curve.x[int(np.nanargmax(curve.y))] == pytest.approx(neuron.mean, abs=0.05)
    assert curve.line.color == theme.GAUSSIAN
    assert curve.line.dash == "dash"


def test_the_y_axis_follows_the_toggle() -> None:
    neuron = fake.detail(fake.RUN, 3, "up_proj", 12)
    assert neuron_figures.distribution_figure(neuron, True).layout.yaxis.type == "log"
    assert neuron_figures.distribution_figure(neuron, False).layout.yaxis.type == "linear"


def test_a_constant_neuron_has_bars_and_no_gaussian() -> None:
    neuron = fake.detail(fake.RUN, 0, "up_proj", 7)
    figure = neuron_figures.distribution_figure(neuron, log=False)
    assert len(figure.data) == 1
    assert "for each of 8,192 tokens" in neuron_figures.distribution_summary(neuron)


def test_every_axis_has_a_title() -> None:
    values = fake.layer_values(1, "gate_proj", WANTED)
    figures: list[go.Figure] = [
        neuron_figures.distribution_figure(fake.detail(fake.RUN, 3, "up_proj", 12), log=True),
        layer_figures.histogram_figure(values, fake.FLOOR, 0.03),
        trend.trend_figure([values.summary], fake.FLOOR, 0.03),
        scatter.scatter_figure(values, Metric.wd, Metric.kurtosis, 0.03, None),
    ]
    for figure in figures:
        for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
            assert axis.title.text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (0.0376212, "0.0376"),
        (4.0, "4.00"),
        (-1.5, "−1.50"),
        (384.2, "384"),
        (123456.0, "123,000"),
        (1.2345e-7, "1.23e-07"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert theme.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (48.4, "48 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_for_people(seconds: float | None, text: str) -> None:
    assert theme.duration(seconds) == text
