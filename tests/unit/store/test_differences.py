"""Two runs neuron by neuron, against ranks found by plain sorting."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from app.errors import Conflict, NotFound
from app.schemas.difference import SORTS, DifferenceQuery
from app.schemas.model import Projection
from app.store import Store
from tests.unit.store.made import BLOCKS, FACTS, WIDTHS, block, model, request, tokens, wd


def other_wd(layer: int, projection: str) -> list[float | None]:
    """WD of the second run: the first one's from the last neuron to the first; neuron 1 is constant too."""
    values = wd(layer, projection)[::-1]
    values[1] = None
    return values


def make_other(store: Store, blocks: int = BLOCKS, **changes: Any) -> str:
    """A second run, of other tokens, with `other_wd`."""
    run = store.create_run(request(seed=1), model().model_copy(update=changes), "Made up")
    store.write_tokens(run, tokens(), FACTS)
    for layer in range(blocks):
        stamp = store.write_inputs(run, layer, [b"inputs"])
        table, arrays = block(layer)
        values = [value for name in WIDTHS for value in other_wd(layer, name)]
        place = table.schema.get_field_index("wd")
        table = table.set_column(place, table.schema.field("wd"), pa.array(values, pa.float64()))
        store.write_block(run, layer, stamp, table, arrays, seconds=1.0)
    if blocks == BLOCKS:
        store.finish(run, seconds=0.5)
    return run


def ranks(values: list[float | None]) -> list[int]:
    order = sorted(range(len(values)), key=lambda i: (values[i] is None, -(values[i] or 0.0), i))
    return [order.index(i) + 1 for i in range(len(values))]


def ask(store: Store, run: str, **query: Any) -> list[Any]:
    return store.differences.page(run, DifferenceQuery(**{"limit": 1000, **query})).items


def test_every_neuron_has_both_its_wds_and_ranks(store: Store, run: str) -> None:
    found = ask(store, run, other=make_other(store))
    assert len(found) == BLOCKS * sum(WIDTHS.values())
    for layer in range(BLOCKS):
        for name, width in WIDTHS.items():
            own, others = wd(layer, name), other_wd(layer, name)
            here = {one.index: one for one in found if (one.layer, one.projection) == (layer, name)}
            assert sorted(here) == list(range(width))
            assert [here[i].rank for i in range(width)] == ranks(own)
            assert [here[i].other_rank for i in range(width)] == ranks(others)
            for i, one in here.items():
                assert (one.wd, one.other_wd, one.layer_neurons) == (own[i], others[i], width)
                assert one.moved == one.other_rank - one.rank
                assert one.distance == abs(one.moved)
                if own[i] is None or others[i] is None:
                    assert one.difference is None
                else:
                    assert one.difference == pytest.approx(own[i] - others[i])  # type: ignore[operator]


@pytest.mark.parametrize("sort", [f"{sign}{name}" for name in SORTS for sign in ("", "-")])
def test_rows_come_in_the_order_asked_for_without_values_last(store: Store, run: str, sort: str) -> None:
    found = ask(store, run, other=make_other(store), sort=sort)
    values = [getattr(one, sort.lstrip("-")) for one in found]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=sort.startswith("-"))
    assert values[: len(known)] == known


def test_pages_and_filters_fit_together(store: Store, run: str) -> None:
    other = make_other(store)
    whole = ask(store, run, other=other, layer=1, projection="gate_proj")
    assert {(one.layer, one.projection) for one in whole} == {(1, "gate_proj")}
    assert len(whole) == WIDTHS["gate_proj"]
    query = DifferenceQuery(other=other, layer=1, projection="gate_proj", limit=10, offset=60)
    page = store.differences.page(run, query)
    assert (page.items, page.total) == (whole[60:], 70)
    assert ask(store, run, other=other, projection="nothing") == []


def test_a_run_against_itself_moves_nothing(store: Store, run: str) -> None:
    assert {one.distance for one in ask(store, run, other=run)} == {0}
    assert {one.difference for one in ask(store, run, other=run)} == {0, None}


def test_runs_of_other_shapes_say_what_differs(store: Store, run: str) -> None:
    projections = [
        Projection(name="gate_proj", module="mlp.gate_proj", in_features=8, out_features=71),
        Projection(name="down_proj", module="mlp.down_proj", in_features=8, out_features=20),
    ]
    other = make_other(store, projections=projections)
    with pytest.raises(Conflict, match="gate_proj has 70 neurons against 71"):
        ask(store, run, other=other)


def test_an_unfinished_run_and_an_unknown_one(store: Store, run: str) -> None:
    other = make_other(store, blocks=1)
    for one, two in ((run, other), (other, run)):
        with pytest.raises(Conflict, match="not finished"):
            ask(store, one, other=two)
    with pytest.raises(NotFound):
        ask(store, run, other="no-such-run-at-all")


def test_only_known_columns_sort() -> None:
    with pytest.raises(ValidationError):
        DifferenceQuery(other="no-such-run-at-all", sort="-wd; drop table scores")
