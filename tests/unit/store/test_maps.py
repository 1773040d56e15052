"""Parts of the map, its limit, and correlations, against slow versions and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from app.errors import InvalidRequest
from app.schemas.layer import MOST_CELLS, MapQuery, Metric
from app.store import Store
from app.store.correlation import correlations
from app.store.maps import LayerRows, run_map
from tests.unit.store.made import make_run

LAYERS = [(layer, name, width) for layer in range(6) for name, width in (("up", 700), ("down", 90))]


def rows() -> tuple[list[LayerRows], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Six blocks of two layers, values with ties and gaps."""
    made, start = [], 0
    for layer, name, width in LAYERS:
        made.append(LayerRows(layer, name, start, start + width))
        start += width
    values = np.random.default_rng(5).normal(size=start).round(2)
    values[::50] = np.nan
    return made, values


def slow_order(values: list[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda i: (np.isnan(values[i]), -values[i], i))


@pytest.mark.parametrize(
    ("first", "last", "bins"), [(1, 40, 512), (33, 600, 13), (90, None, 7), (700, 9999, 5)]
)
def test_a_part_is_those_ranks_binned_anew(first: int, last: int | None, bins: int) -> None:
    made, values = rows()
    query = MapQuery(bins=bins, first_layer=2, last_layer=4, first_rank=first, last_rank=last)
    shown = run_map(query, values, made)
    wanted = [row for row in made if 2 <= row.layer <= 4 and row.neurons >= first]
    assert [(row.layer, row.projection) for row in shown.rows] == [(r.layer, r.projection) for r in wanted]
    for row, source in zip(shown.rows, wanted, strict=True):
        own = values[source.start : source.stop].tolist()
        part = slow_order(own)[first - 1 : last]
        assert (row.first_rank, row.last_rank) == (first, first - 1 + len(part))
        assert len(row.values) == shown.bins
        for place, (value, leader) in enumerate(zip(row.values, row.leaders, strict=True)):
            start = place * len(part) // shown.bins
            inside = part[start : max((place + 1) * len(part) // shown.bins, start + 1)]
            known = [own[i] for i in inside if not np.isnan(own[i])]
            assert leader == inside[0]
            assert value == (pytest.approx(np.mean(known)) if known else None)


def test_a_small_part_has_a_cell_for_each_neuron() -> None:
    made, values = rows()
    shown = run_map(MapQuery(projection="up", first_rank=11, last_rank=60), values, made)
    assert shown.bins == 50
    own = values[:700].tolist()
    assert shown.rows[0].leaders == slow_order(own)[10:60]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"first_layer": 4, "last_layer": 3}, "first_layer is 4 and last_layer is 3"),
        ({"first_rank": 9, "last_rank": 3}, "first_rank is 9 and last_rank is 3"),
        ({"first_layer": 6}, "No block from 6 on"),
        ({"first_layer": 7, "last_layer": 9}, "No block from 7 to 9"),
        ({"first_rank": 701}, "rank 701"),
        ({"projection": "down", "first_rank": 91}, "rank 91"),
    ],
)
def test_a_part_with_nothing_in_it_is_refused(changes: dict[str, object], word: str) -> None:
    made, values = rows()
    with pytest.raises(InvalidRequest, match=word) as caught:
        run_map(MapQuery.model_validate(changes), values, made)
    assert caught.value.hint


def test_no_more_cells_than_a_browser_can_draw() -> None:
    made = [LayerRows(layer, "up", layer * 900, layer * 900 + 900) for layer in range(240)]
    values = np.arange(240 * 900, dtype=float)
    with pytest.raises(InvalidRequest, match="192,000 cells; at most 100,000") as caught:
        run_map(MapQuery(bins=800), values, made)
    assert "at most 416 bins" in caught.value.hint
    shown = run_map(MapQuery(), values, made)
    assert shown.bins == 416
    assert sum(len(row.values) for row in shown.rows) <= MOST_CELLS
    assert run_map(MapQuery(bins=800, last_layer=9), values, made).bins == 800


@pytest.mark.parametrize("kind", ["normal", "ties", "gaps"])
def test_correlations_are_scipys(kind: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=400)
    y = 0.5 * x + rng.gamma(1, 1, 400)
    if kind != "normal":
        x, y = x.round(1), y.round(0)
    if kind == "gaps":
        x[:7], y[5:20] = np.nan, np.nan
    n, pearson, spearman = correlations(x, y)
    known = np.isfinite(x) & np.isfinite(y)
    assert n == known.sum()
    assert pearson == pytest.approx(stats.pearsonr(x[known], y[known]).statistic, abs=1e-12)
    assert spearman == pytest.approx(stats.spearmanr(x[known], y[known]).statistic, abs=1e-12)


@pytest.mark.parametrize("x", [[], [1.0], [2.0, 2.0, 2.0], [np.nan, np.nan]])
def test_where_nothing_varies_there_is_no_correlation(x: list[float]) -> None:
    n, pearson, spearman = correlations(np.asarray(x, dtype=float), np.arange(len(x), dtype=float))
    assert n == np.isfinite(x).sum()
    assert pearson is None
    assert spearman is None


def test_the_stored_correlation_is_that_of_the_stored_values(store: Store) -> None:
    run = make_run(store)
    found = store.correlation(run, 1, "gate_proj", (Metric.wd, Metric.kurtosis))
    values = store.layer_values(run, 1, "gate_proj", [Metric.wd, Metric.kurtosis]).metrics
    pairs = [(x, y) for x, y in zip(values["wd"], values["kurtosis"], strict=True) if None not in (x, y)]
    x, y = np.asarray(pairs, dtype=float).T
    assert (found.x, found.y, found.n) == (Metric.wd, Metric.kurtosis, 69)
    assert found.pearson == pytest.approx(stats.pearsonr(x, y).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic)
