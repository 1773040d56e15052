"""What pages show, against slow versions written here."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from app.errors import Conflict, InvalidRequest, NotFound
from app.schemas.layer import MapQuery, Metric
from app.schemas.neuron import NeuronQuery
from app.store import Store
from tests.unit.store.made import BLOCKS, FACTS, WIDTHS, make_run, model, request, wd, write_block


def slow_rows() -> list[dict[str, Any]]:
    """All neurons with their WD, in the model's order, ranked by plain sorting."""
    rows = [
        {"layer": layer, "projection": name, "index": index, "wd": value}
        for layer in range(BLOCKS)
        for name in WIDTHS
        for index, value in enumerate(wd(layer, name))
    ]
    for rank, row in enumerate(sorted(rows, key=lambda r: (r["wd"] is None, -(r["wd"] or 0))), 1):
        row["rank_model"] = rank
    return rows


def layer_rows(layer: int, name: str) -> list[dict[str, Any]]:
    return [row for row in slow_rows() if (row["layer"], row["projection"]) == (layer, name)]


def test_ranks_are_total_and_constants_last(store: Store, run: str) -> None:
    got = store.neurons(run, NeuronQuery(sort="rank_model", limit=1000)).items
    want = sorted(slow_rows(), key=lambda row: row["rank_model"])
    assert [(n.layer, n.projection, n.index, n.wd) for n in got] == [
        (w["layer"], w["projection"], w["index"], w["wd"]) for w in want
    ]
    assert [n.rank_model for n in got] == list(range(1, 271))
    assert all(n.constant for n in got[-6:])
    for layer in range(BLOCKS):
        for name, width in WIDTHS.items():
            ranks = [n.rank_layer for n in got if (n.layer, n.projection) == (layer, name)]
            assert ranks == list(range(1, width + 1))


def test_wasserstein_neurons_are_an_exact_share(store: Store, run: str) -> None:
    for summary in store.layers(run):
        assert summary.wasserstein == round(0.1 * summary.neurons)
        query = NeuronQuery(layer=summary.layer, projection=summary.projection, wasserstein=True)
        top = store.neurons(run, query)
        assert top.total == summary.wasserstein
        assert [n.rank_layer for n in top.items] == list(range(1, top.total + 1))
        assert summary.threshold == top.items[-1].wd


def test_layer_summaries(store: Store, run: str) -> None:
    summaries = store.layers(run)
    assert [(s.layer, s.projection) for s in summaries] == [
        (b, name) for b in range(BLOCKS) for name in WIDTHS
    ]
    for s in summaries:
        known = np.array([v for v in wd(s.layer, s.projection) if v is not None])
        assert (s.neurons, s.constant) == (WIDTHS[s.projection], 1)
        assert [s.wd_min, s.wd_q25, s.wd_median, s.wd_q75, s.wd_max] == pytest.approx(
            np.quantile(known, [0, 0.25, 0.5, 0.75, 1]).tolist()
        )
        assert s.above_floor == int((known > FACTS.gaussian_floor).sum())


def test_layer_values_keep_the_index_order_and_null(store: Store, run: str) -> None:
    values = store.layer_values(run, 1, "gate_proj", [Metric.wd, Metric.entropy])
    assert values.metrics["wd"] == wd(1, "gate_proj")
    assert values.metrics["entropy"] == [None] + [1.0] * 69
    assert values.summary == store.layers(run)[2]
    assert store.layer_values(run, 1, "gate_proj", []).metrics == {}


@pytest.mark.parametrize("down", [True, False])
def test_sorting_by_any_column_puts_missing_last(store: Store, run: str, down: bool) -> None:
    for name in [m.value for m in Metric if not m.needs]:
        rows = store.neurons(run, NeuronQuery(sort=("-" if down else "") + name, limit=1000)).items
        values = [getattr(row, name) for row in rows]
        known = [v for v in values if v is not None]
        assert known == sorted(known, reverse=down)
        assert values[: len(known)] == known


def test_filters_and_pages(store: Store, run: str) -> None:
    want = [r for r in slow_rows() if r["wd"] is not None and 0.3 <= r["wd"] <= 0.6 and r["layer"] == 2]
    query = NeuronQuery(layer=2, min_wd=0.3, max_wd=0.6, limit=7, sort="index")
    pages = [store.neurons(run, query.model_copy(update={"offset": o})) for o in range(0, len(want) + 7, 7)]
    assert {page.total for page in pages} == {len(want)}
    got = [(n.projection, n.index) for page in pages for n in page.items]
    assert got == [
        (r["projection"], r["index"])
        for r in sorted(want, key=lambda r: (r["index"], r["projection"] != "gate_proj"))
    ]
    assert store.neurons_table(run, query).num_rows == 7
    assert store.neurons(run, NeuronQuery(limit=0)).items == []


def test_conditions_on_any_column_against_a_slow_version(store: Store, run: str) -> None:
    conditions = ["wd>=0.25", "kurtosis<40", "index>3", "rank_layer<=30", "entropy=1.0", "md>-2.5e0"]
    query = NeuronQuery(where=conditions, limit=1000, sort="index")
    found = store.neurons(run, query)
    every = store.neurons(run, NeuronQuery(limit=1000)).items
    want = {
        (n.layer, n.projection, n.index)
        for n in every
        if n.wd is not None
        and n.wd >= 0.25
        and (n.kurtosis or 0) < 40
        and n.index > 3
        and n.rank_layer <= 30
        and n.entropy == 1.0
        and (n.md or 0) > -2.5
    }
    assert found.total == len(want) > 10
    assert {(n.layer, n.projection, n.index) for n in found.items} == want
    with pytest.raises(InvalidRequest, match="pruned_w1"):
        store.neurons(run, NeuronQuery(where=["pruned_w1>0.1"]))


def test_how_many_have_at_least_a_wd(store: Store, run: str) -> None:
    for summary in store.layers(run, min_wd=0.5):
        known = [v for v in wd(summary.layer, summary.projection) if v is not None]
        assert summary.at_least == sum(v >= 0.5 for v in known)
    assert {summary.at_least for summary in store.layers(run)} == {None}


def test_map_bins_by_rank_against_a_slow_version(store: Store, run: str) -> None:
    shown = store.run_map(run, MapQuery(bins=30))
    assert shown.bins == 30
    for row in shown.rows:
        rows = sorted(
            layer_rows(row.layer, row.projection),
            key=lambda r: (r["wd"] is None, -(r["wd"] or 0), r["index"]),
        )
        n = len(rows)
        for bin_ in range(30):
            start = bin_ * n // 30
            inside = rows[start : max((bin_ + 1) * n // 30, start + 1)]
            known = [r["wd"] for r in inside if r["wd"] is not None]
            assert row.leaders[bin_] == inside[0]["index"]
            assert row.values[bin_] == (pytest.approx(np.mean(known)) if known else None)
    everything = [v for row in shown.rows for v in row.values if v is not None]
    assert (shown.minimum, shown.maximum) == (min(everything), max(everything))


def test_map_has_no_more_bins_than_neurons(store: Store, run: str) -> None:
    assert store.run_map(run, MapQuery(metric=Metric.md, bins=512)).bins == 70
    only = store.run_map(run, MapQuery(projection="down_proj"))
    assert only.bins == 20
    assert {row.projection for row in only.rows} == {"down_proj"}
    assert store.run_map(run, MapQuery(projection="nothing")).rows == []


def test_neuron_detail(store: Store, run: str) -> None:
    detail = store.neuron(run, 2, "gate_proj", 69)
    assert detail.wd == wd(2, "gate_proj")[69]
    assert (detail.layer_neurons, detail.run_neurons) == (70, 270)
    assert detail.distribution.counts == [69_000 + i + 2 for i in range(256)]
    assert detail.distribution.quantiles == pytest.approx((69 + np.linspace(0, 1, 257)).tolist())
    assert (detail.distribution.low, detail.distribution.high) == (69.25, 71.25)
    assert [t.position for t in detail.tokens.low] == [(69 + 10 + i) % 40 for i in range(16)]
    assert detail.tokens.high[0].value == 69.0
    assert detail.provenance.model_fingerprint == "f" * 16
    assert detail.provenance.corpus == "Made up"


def test_examples_stay_in_their_window(store: Store, run: str) -> None:
    example = store.neuron(run, 0, "gate_proj", 18).tokens.high[0]
    assert (example.position, example.window, example.offset, example.token) == (18, 1, 2, " t18")
    assert example.before == " t16 t17"
    assert example.after == "".join(f" t{i}" for i in range(19, 32))


def test_neuron_takes_milliseconds_once_opened(store: Store, run: str) -> None:
    store.neuron(run, 1, "gate_proj", 0)
    spans = []
    for index in range(10):
        start = time.perf_counter()
        store.neuron(run, 1, "gate_proj", index)
        spans.append(time.perf_counter() - start)
    assert min(spans) < 0.05


def test_reads_from_many_threads_agree(store: Store, run: str) -> None:
    def read(index: int) -> tuple[Any, ...]:
        detail = store.neuron(run, index % 3, "gate_proj", index % 70)
        return (
            detail.index,
            detail.distribution.counts[0],
            store.neurons(run, NeuronQuery(limit=3)).items[0].wd,
        )

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(read, range(120)))
    top = max(r["wd"] or 0 for r in slow_rows())
    assert got == [(i % 70, (i % 70) * 1000 + i % 3, top) for i in range(120)]


def test_missing_things_are_named(store: Store, run: str) -> None:
    with pytest.raises(NotFound, match="no neuron 70 in gate_proj of block 1: it has 70"):
        store.neuron(run, 1, "gate_proj", 70)
    with pytest.raises(NotFound, match="no layer up_proj in block 1"):
        store.neuron(run, 1, "up_proj", 0)
    with pytest.raises(NotFound, match="block 9"):
        store.layer_values(run, 9, "gate_proj", [Metric.wd])


def test_a_run_under_way_is_read_as_far_as_it_is(store: Store) -> None:
    run = store.create_run(request(), model())
    with pytest.raises(Conflict, match="No block"):
        store.layers(run)
    make_run(store, blocks=1)
    assert len(store.layers(run)) == 2
    assert store.neurons(run, NeuronQuery()).total == 90
    assert store.neuron(run, 0, "down_proj", 19).run_neurons == 90
    with pytest.raises(Conflict, match="Block 2"):
        store.neuron(run, 2, "down_proj", 0)
    write_block(store, run, 1)
    assert store.neurons(run, NeuronQuery()).total == 180
