"""What is marked in a layer, counted over its records, and the same in grid, scatter and table."""

from __future__ import annotations

import numpy as np
import pytest
from dash import no_update

from app.schemas.layer import Metric
from frontend.callbacks.layer import picked
from frontend.components.layer_marks import LayerView, add_marks, count_of, row_of, scatter_axes, view_of
from frontend.figures import layer as layer_figures
from frontend.figures import marks, scatter
from tests.unit.figures import fake_client as fake

LAYER, PROJECTION = 2, "up_proj"
VALUES = fake.layer_values(LAYER, PROJECTION, ["wd", "md", "kurtosis", "mean_abs_weight"])
ROWS = fake.rows(LAYER, PROJECTION)
THRESHOLD = 0.1
ABOVE = [row.index for row in ROWS if row.wd is not None and row.wd >= THRESHOLD]
CONSTANT = 7


def test_the_neurons_above_the_threshold_are_counted() -> None:
    assert 0 < len(ABOVE) < len(ROWS)
    assert marks.above(VALUES, THRESHOLD).tolist() == ABOVE
    words = count_of(VALUES, LayerView(THRESHOLD))
    assert words.startswith(f"{len(ABOVE)} of {len(ROWS)} neurons, ")
    assert words.endswith("have a WD of at least 0.100.")


def test_grid_and_scatter_mark_the_same_neurons() -> None:
    view = LayerView(THRESHOLD, selected=12)
    grid = add_marks(layer_figures.grid_figure(VALUES, Metric.wd), VALUES, view)
    columns = layer_figures.grid_shape(VALUES.neurons)[1]
    dots = scatter.scatter_figure(VALUES, Metric.wd, Metric.kurtosis, THRESHOLD, 12)
    for trace, indices in ((marks.MARKED, ABOVE), (marks.SELECTED, [12])):
        cells = zip(grid.data[trace].x, grid.data[trace].y, strict=True)
        assert [y * columns + x for x, y in cells] == indices
        assert list(dots.data[trace].x) == [ROWS[i].wd for i in indices]
        assert list(dots.data[trace].y) == [ROWS[i].kurtosis for i in indices]
    assert list(dots.data[marks.ALL].customdata) == list(range(VALUES.neurons))
    assert np.isnan(dots.data[marks.ALL].x[CONSTANT])


def test_too_many_are_counted_and_not_outlined() -> None:
    every = np.arange(marks.MOST_MARKED + 1)
    assert len(marks.drawn(every[:-1])) == marks.MOST_MARKED
    assert len(marks.drawn(every)) == 0
    assert "not outlined" in marks.count_words(len(every), 5000, 0.0)


@pytest.mark.parametrize("sort", ["-wd", "wd", "-kurtosis", "index", "-index", "rank_layer"])
def test_a_neuron_s_place_is_that_of_the_list(sort: str) -> None:
    key = sort.lstrip("-")
    known = [row for row in ROWS if getattr(row, key) is not None]
    if key == "rank_layer":  # by WD, whatever the made-up ranks say
        known, down, key = [row for row in ROWS if row.wd is not None], True, "wd"
    else:
        down = sort[0] == "-"
    known.sort(key=lambda row: getattr(row, key), reverse=down)
    for place in (0, 40, len(known) - 1):
        assert marks.place_in_order(VALUES, sort, known[place].index) == place


def test_a_constant_neuron_is_last_and_an_unknown_column_has_no_place() -> None:
    assert marks.place_in_order(VALUES, "-wd", CONSTANT) == len(ROWS) - 1
    assert marks.place_in_order(VALUES, "-entropy", 3) is None


def test_the_selected_row_of_the_table() -> None:
    table = {"sort": "index", "where": []}
    assert row_of(VALUES, LayerView(0.1, 12), table, scroll=True) == {"key": "2.up_proj.12", "row": 12}
    assert row_of(VALUES, LayerView(0.1, 12), table, scroll=False)["row"] is None
    assert row_of(VALUES, LayerView(0.1, 12), table | {"where": ["wd>=1"]}, scroll=True)["row"] is None
    assert row_of(VALUES, LayerView(0.1), table, scroll=True) == {"key": None, "row": None}


@pytest.mark.parametrize(
    ("query", "view"),
    [
        ({}, LayerView(0.2)),
        ({"selected": "12", "from": "0.05"}, LayerView(0.05, 12)),
        ({"selected": "96", "from": "-1"}, LayerView(0.2)),
        ({"selected": "٣", "from": "inf"}, LayerView(0.2)),
        ({"selected": "x", "from": "nan"}, LayerView(0.2)),
    ],
)
def test_the_view_in_the_address(query: dict[str, str], view: LayerView) -> None:
    assert view_of(query, neurons=96, threshold=0.2) == view


def test_axes_that_cannot_be_shown_are_the_usual_ones() -> None:
    assert scatter_axes({}, ()) == (Metric.wd, Metric.md)
    assert scatter_axes({"x": "kurtosis", "y": "ri"}, ()) == (Metric.kurtosis, Metric.md)


def test_a_point_is_marked_by_one_click_and_opened_by_the_next() -> None:
    place = {"run": fake.RUN, "layer": LAYER, "projection": PROJECTION}
    assert picked(12, "?selected=3", place) == (no_update, {"selected": "12"})
    address, view = picked(12, "?selected=12&pruning=p-0123456789ab", place)
    assert address == f"/runs/{fake.RUN}/layers/2/up_proj/neurons/12?pruning=p-0123456789ab"
    assert view is no_update
    assert picked(None, "", place) == (no_update, no_update)


def test_the_correlation_is_said_with_its_neurons() -> None:
    found = fake.correlation(LAYER, PROJECTION, Metric.wd, Metric.md)
    assert "over 95 neurons" in scatter.correlation_words(found)
    nothing = found.model_copy(update={"pearson": None, "spearman": None, "n": 1})
    assert scatter.correlation_words(nothing).startswith("No correlation")
