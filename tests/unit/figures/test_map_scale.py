"""The map's colours and ranks: readable whatever a few extreme layers do."""

from __future__ import annotations

import numpy as np
import pytest

from app.schemas.layer import MapRow, Metric, RunMap
from frontend.figures import map as figures


def made(rows: list[list[float | None]]) -> RunMap:
    """A map of one projection with a neuron per bin."""
    lines = [
        MapRow(
            layer=i,
            projection="up_proj",
            neurons=len(v),
            last_rank=len(v),
            values=v,
            leaders=list(range(len(v))),
        )
        for i, v in enumerate(rows)
    ]
    return RunMap(metric=Metric.wd, bins=len(rows[0]), rows=lines, minimum=None, maximum=None)


def test_one_extreme_cell_does_not_set_the_last_colour() -> None:
    values = np.linspace(0.02, 0.2, 400).tolist()
    colours = figures.map_colours(made([[*values, 50.0]]))
    assert 0.02 < colours.low < 0.03
    assert 0.19 < colours.high <= 0.2


@pytest.mark.parametrize("values", [[None, None], [0.1, 0.1, None]])
def test_no_values_or_one_value_still_make_a_range(values: list[float | None]) -> None:
    colours = figures.map_colours(made([values]))
    assert colours.high > colours.low


def test_bins_cover_the_ranks_they_hold() -> None:
    """Seven neurons in three bins: ranks 1-2, 3-4, 5-7, each cell from half a rank before to half a rank after."""
    row = MapRow(
        layer=0, projection="up_proj", neurons=7, last_rank=7, values=[3.0, 2.0, 1.0], leaders=[0, 2, 4]
    )
    figure = figures.map_figure(RunMap(metric=Metric.wd, bins=3, rows=[row], minimum=1.0, maximum=3.0))
    assert list(figure.data[0].x) == [0.5, 2.5, 4.5, 7.5]
    assert figure.data[0].customdata[0, :, :2].tolist() == [[1, 2], [3, 4], [5, 7]]


@pytest.mark.parametrize(
    ("first", "last", "scale"), [(1, 9, None), (1, 10, "log"), (11, 109, None), (11, 110, "log")]
)
def test_ranks_are_logarithmic_where_they_span_a_decade(first: int, last: int, scale: str | None) -> None:
    row = MapRow(
        layer=0,
        projection="up_proj",
        neurons=200,
        first_rank=first,
        last_rank=last,
        values=[2.0, 1.0],
        leaders=[0, 1],
    )
    run_map = RunMap(metric=Metric.wd, bins=2, rows=[row], minimum=1.0, maximum=2.0)
    figure = figures.map_figure(run_map)
    assert figure.layout.xaxis.type == scale
    assert figures.logarithmic(run_map) is (scale == "log")
    assert list(figure.data[0].x)[0::2] == [first - 0.5, last + 0.5]
