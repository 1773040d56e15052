"""Stored outputs: written, read row by row, refused when damaged; ranges and pairs against slow truths."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import Conflict, CorruptStore, NotFound
from app.schemas.outputs import OutputsQuery
from app.store import Store, keys
from app.store.neuron_outputs import Outputs, pairs_of, tokens_of
from app.store.outputs import ARRAY, PAIRS
from app.store.tokens import TokenStream
from tests.unit.store import made

WIDTH = made.WIDTHS["gate_proj"]
PLACE = (1, "gate_proj")


def matrix() -> np.ndarray[Any, Any]:
    """(neurons, tokens) outputs of gate_proj; neuron 5 is constant, neuron 6 has ties."""
    values = np.random.default_rng(4).normal(size=(WIDTH, made.TOKENS)).astype(np.float32)
    values[5], values[6] = 2.0, np.round(values[6])
    return values


def pairs_table() -> pa.Table:
    order = np.random.default_rng(5).permutation(made.TOKENS)
    distance = np.random.default_rng(6).uniform(1, 9, size=19)
    return pa.table({"first": order[:19], "second": order[20:39], "distance": distance})


def write(store: Store, run: str, rows: int = 32) -> None:
    values = matrix()
    store.outputs.create(run, *PLACE)
    store.outputs.write(
        run,
        *PLACE,
        shape=values.shape,
        shard_rows=rows,
        parts=(values[start : start + rows] for start in range(0, len(values), rows)),
        pairs=pairs_table(),
        left_out=1,
        device="cpu",
        started=datetime.now(UTC),
    )


def experts() -> np.ndarray[Any, Any]:
    return (np.arange(made.TOKENS) % 3).astype(np.int16)


def one(index: int, with_experts: bool = True) -> Outputs:
    return Outputs(matrix()[index], TokenStream(made.tokens()), experts() if with_experts else None)


@pytest.mark.parametrize("rows", [1, 32, 70, 99])
def test_each_neurons_row_comes_back_as_it_was(store: Store, rows: int) -> None:
    run = made.make_run(store)
    write(store, run, rows)
    fresh = Store(store.files.url)
    for index, wanted in enumerate(matrix()):
        np.testing.assert_array_equal(fresh.outputs.row(run, *PLACE, index), wanted)
    assert fresh.outputs.pairs(run, *PLACE).num_rows == 19
    assert fresh.outputs.verify(run, *PLACE) == []
    state = fresh.outputs.state(run, *PLACE)
    assert (state.stored, state.neurons, state.tokens, state.device) == (True, WIDTH, made.TOKENS, "cpu")
    folder = keys.outputs(run, *PLACE)
    assert state.size_bytes == sum(
        fresh.files.size(f"{folder}/{name}") or 0 for name in fresh.outputs.require(run, *PLACE).files
    )


def test_what_was_asked_for_is_known_and_goes(store: Store) -> None:
    run = made.make_run(store)
    assert store.outputs.asked(run) == []
    assert store.outputs.create(run, 10, "down_proj")
    assert not store.outputs.create(run, 10, "down_proj")
    write(store, run)
    assert store.outputs.asked(run) == [PLACE, (10, "down_proj")]
    store.outputs.delete(run, *PLACE)
    assert store.outputs.asked(run) == [(10, "down_proj")]
    with pytest.raises(Conflict, match="not stored"):
        store.outputs.row(run, *PLACE, 0)
    assert store.files.names(f"{keys.run(run)}/outputs") == ["0010.down_proj"]


def test_written_again_other_values_are_read(store: Store) -> None:
    run = made.make_run(store)
    write(store, run)
    store.outputs.row(run, *PLACE, 0)
    store.outputs.delete(run, *PLACE)
    write(store, run, 7)
    np.testing.assert_array_equal(store.outputs.row(run, *PLACE, 0), matrix()[0])


@pytest.mark.parametrize("name", [f"{ARRAY}/c/0/0", f"{ARRAY}/zarr.json", PAIRS])
@pytest.mark.parametrize("cut", [True, False])
def test_damage_is_noticed(store: Store, name: str, cut: bool) -> None:
    run = made.make_run(store)
    write(store, run)
    key = keys.outputs(run, *PLACE, name)
    data = bytearray(store.files.read(key) or b"")
    place = len(data) // 3
    data[place] ^= 0xFF
    store.files.write(key, bytes(data[:-1] if cut else data))
    fresh = Store(store.files.url)
    assert fresh.outputs.verify(run, *PLACE) == [name]
    if name == PAIRS:
        with pytest.raises(CorruptStore):
            fresh.outputs.pairs(run, *PLACE)
    elif cut or name.endswith("0"):
        refused = []
        for index in range(WIDTH):
            try:
                fresh.outputs.row(run, *PLACE, index)
            except CorruptStore:
                refused.append(index)
        assert refused


@hypothesis(max_examples=150, deadline=None)
@given(
    ends=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    sort=st.sampled_from(["value", "-value", "position", "random"]),
    index=st.sampled_from([0, 5, 6]),
    limit=st.integers(0, 50),
    offset=st.integers(0, 45),
)
def test_a_range_holds_the_tokens_between_its_ends(
    ends: tuple[float, float], sort: str, index: int, limit: int, offset: int
) -> None:
    low, high = sorted(ends)
    row = matrix()[index]
    found = tokens_of(one(index), OutputsQuery(low=low, high=high, sort=sort, limit=limit, offset=offset))
    inside = [position for position in range(made.TOKENS) if low <= float(row[position]) <= high]
    assert found.total == len(inside)
    assert (found.low, found.high) == ((min(row[inside]), max(row[inside])) if inside else (0.0, 0.0))
    key = {
        "value": lambda p: (row[p], p),
        "-value": lambda p: (-row[p], p),
        "position": lambda p: (0.0, p),
    }.get(sort)
    positions = [token.position for token in found.items]
    if key is not None:
        assert positions == sorted(inside, key=key)[offset : offset + limit]
    else:
        assert len(set(positions)) == len(positions) == len(inside[offset : offset + limit])
        assert set(positions) <= set(inside)
    assert found.expert_tokens == {e: n for e in range(3) if (n := sum(experts()[p] == e for p in inside))}
    for token in found.items:
        assert (token.value, token.expert) == (row[token.position], token.position % 3)
        assert token.token == f" t{token.position}"


def test_bands_of_quantiles_part_all_tokens() -> None:
    edges = [0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1]
    for index in (0, 5, 6):
        seen: list[int] = []
        for low, high in itertools.pairwise(edges):
            band = tokens_of(one(index), OutputsQuery(from_quantile=low, to_quantile=high, sort="value"))
            seen += [token.position for token in band.items]
        assert seen == np.argsort(matrix()[index], kind="stable").tolist()


def test_a_random_order_follows_from_its_seed() -> None:
    def order(seed: int, offset: int = 0) -> list[int]:
        query = OutputsQuery(low=-1, sort="random", seed=seed, limit=8, offset=offset)
        return [token.position for token in tokens_of(one(0), query).items]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert not set(order(1)) & set(order(1, offset=8))


@pytest.mark.parametrize(
    "values",
    [
        {"low": 1, "high": 0},
        {"low": 0, "to_quantile": 0.5},
        {"from_quantile": 0.6, "to_quantile": 0.5},
        {"from_quantile": 1.1},
        {"low": float("nan")},
        {"sort": "wd"},
        {"expansion": "p-0123456789ab"},
        {"hihg": 1},
    ],
)
def test_ranges_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OutputsQuery(**values)


def test_pairs_are_eq_2_pair_by_pair() -> None:
    table = pairs_table()
    for index in (0, 6):
        row = matrix()[index].astype(float)
        found = pairs_of(one(index), table, 1, points=7, hardest=3, seed=2)
        rows = table.to_pylist()
        apart = [abs(row[pair["first"]] - row[pair["second"]]) for pair in rows]
        middle = float(np.median(apart))
        far = max(pair["distance"] for pair in rows)
        hard = [a / middle / (pair["distance"] / far) for a, pair in zip(apart, rows, strict=True)]
        assert found.md == pytest.approx(np.mean(hard), rel=1e-6)
        assert (found.pairs, found.left_out) == (19, 1)
        assert (found.input_scale, found.output_scale) == pytest.approx((far, middle), rel=1e-6)
        assert [pair.difficulty for pair in found.hardest] == pytest.approx(
            sorted(hard, reverse=True)[:3], rel=1e-6
        )
        worst = rows[int(np.argmax(hard))]
        first, second = found.hardest[0].first, found.hardest[0].second
        assert (first.position, second.position) == (worst["first"], worst["second"])
        assert (first.value, second.expert) == (row[first.position], second.position % 3)
        known = [(pair["distance"] / far, a / middle) for pair, a in zip(rows, apart, strict=True)]
        for point in zip(found.input_distances, found.output_distances, strict=True):
            assert min(abs(point[0] - x) + abs(point[1] - y) for x, y in known) < 1e-5
        assert len(found.input_distances) == 7


def test_pairs_of_a_constant_neuron_and_of_no_pairs() -> None:
    constant = pairs_of(one(5), pairs_table(), 0, points=5, hardest=2, seed=0)
    assert (constant.md, constant.output_scale, set(constant.output_distances)) == (None, 1.0, {0.0})
    nothing = pairs_of(one(0), pairs_table().slice(0, 0), 20, points=5, hardest=2, seed=0)
    assert (nothing.pairs, nothing.left_out, nothing.md, nothing.hardest) == (0, 20, None, [])


def test_a_median_of_zero_is_taken_over_the_pairs_that_differ() -> None:
    values = np.zeros(made.TOKENS, dtype=np.float32)
    table = pairs_table()
    values[table["first"][0].as_py()] = 3.0
    found = pairs_of(Outputs(values, TokenStream(made.tokens())), table, 0, points=19, hardest=1, seed=0)
    assert found.output_scale == 3.0
    far = max(table["distance"].to_pylist())
    assert found.md == pytest.approx(far / table["distance"][0].as_py() / 19, rel=1e-6)
    assert found.hardest[0].first.expert is None


def test_questions_to_a_layer_without_outputs_and_to_no_neuron(store: Store) -> None:
    run = made.make_run(store)
    with pytest.raises(Conflict, match="are not stored"):
        store.wd_interval(run, *PLACE, 0, 0.95, None)
    write(store, run)
    with pytest.raises(NotFound, match="no neuron 70"):
        store.neuron_tokens(run, *PLACE, WIDTH, OutputsQuery())
    assert store.neuron_tokens(run, *PLACE, 3, OutputsQuery()).total == made.TOKENS
    assert store.wd_interval(run, *PLACE, 0, 0.95, None).low is None  # constant in the run's scores
