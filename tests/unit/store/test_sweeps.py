"""Sweeps in the store: the same request is the same sweep, points last, damage noticed, deletion whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from app.errors import Conflict, CorruptStore, NotFound
from app.schemas.sweep import SweepPointResult, SweepRequest, points_of
from app.store import Store
from app.store.sweeps import PointArtifacts
from tests.unit.store.made import TOKENS, WIDTHS

REQUEST = SweepRequest(
    layer=1,
    projection="gate_proj",
    sparsities=(0.5, 0.9),
    patterns=(),
    experts=2,
    expert_counts=(1, 2),
    reduction=4,
)


def write(store: Store, run: str, request: SweepRequest = REQUEST, points: int | None = None) -> str:
    """A sweep of made-up numbers: point p of neuron n has RMSE (n + 1) / (p + 1)."""
    sweep, every = store.sweeps.create(run, request), points_of(request)
    neurons = WIDTHS[request.projection]
    for number, point in enumerate(every[:points]):
        result = SweepPointResult(
            **point.model_dump(), zero_share=point.sparsity, relative_error=number / 8, damping=0.01
        )
        numbers = np.stack(
            [
                np.where(np.arange(neurons) == 0, np.nan, number / 4),
                np.full(neurons, number / 2),
                (np.arange(neurons) + 1.0) / (number + 1),
            ],
            axis=1,
        )
        counts = np.zeros((neurons, 192), dtype=np.int32)
        counts[:, 40 + number] = TOKENS
        store.sweeps.write_point(run, sweep, number, PointArtifacts(result, numbers, counts))
    if points is None or points >= len(every):
        store.sweeps.finish(run, sweep, 1.5)
    return sweep


def test_the_same_request_in_any_order_is_the_same_sweep(store: Store, run: str) -> None:
    first = store.sweeps.create(run, REQUEST)
    body = REQUEST.model_dump() | {"sparsities": [0.9, 0.5, 0.9], "expert_counts": [2, 1, 2]}
    assert store.sweeps.create(run, SweepRequest(**body)) == first
    assert store.sweeps.create(run, SweepRequest(**body | {"experts": 3})) != first
    assert sorted(store.sweeps.ids(run)) == sorted({*store.sweeps.ids(run)})
    assert len(store.sweeps.ids(run)) == 2
    assert store.sweeps.ids(run, layer=2) == []
    assert store.sweeps.ids(run, layer=1, projection="down_proj") == []


def test_a_neuron_is_read_as_it_was_written(store: Store, run: str) -> None:
    sweep = write(store, run)
    made = store.sweeps.get(run, sweep)
    assert (made.done, made.finished, made.seconds) == (5, True, 1.5)
    assert [result.relative_error for result in made.results] == [0, 1 / 8, 2 / 8, 3 / 8, 4 / 8]
    found = store.neuron_sweep(run, 1, "gate_proj", 3, sweep)
    assert [point.rmse for point in found.points] == [4, 2, 4 / 3, 1, 4 / 5]
    assert [point.ri for point in found.points] == [None, None, 4 / (4 / 3), 2, 2 / (4 / 5)]
    assert [point.counts.index(TOKENS) for point in found.points] == [40, 41, 42, 43, 44]
    assert (found.points[1].wd, found.points[1].w1) == (0.25, 0.5)
    assert store.neuron_sweep(run, 1, "gate_proj", 0, sweep).points[1].wd is None
    dense = store.distributions(run, 1, "gate_proj", 3, None, None)
    assert (found.dense, found.low, found.width) == (dense.dense, dense.low, dense.width)


def test_another_layers_neuron_and_an_unfinished_sweep_are_refused(store: Store, run: str) -> None:
    sweep = write(store, run, points=2)
    assert store.sweeps.get(run, sweep).done == 2
    with pytest.raises(Conflict, match="2 of 5 points"):
        store.neuron_sweep(run, 1, "gate_proj", 3, sweep)
    with pytest.raises(Conflict, match="is of gate_proj of block 1"):
        store.neuron_sweep(run, 2, "gate_proj", 3, sweep)
    with pytest.raises(NotFound):
        store.neuron_sweep(run, 1, "gate_proj", 3, "s-000000000000")


def test_a_shortened_array_is_noticed(store: Store, run: str) -> None:
    sweep = write(store, run)
    folder = Path(store.files.path(f"runs/{run}/sweeps/{sweep}/arrays.zarr/counts"))
    shard = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(CorruptStore, match="bytes instead of"):
        store.neuron_sweep(run, 1, "gate_proj", 3, sweep)


def test_a_deleted_sweep_is_gone_and_can_be_made_again(store: Store, run: str) -> None:
    sweep = write(store, run)
    store.neuron_sweep(run, 1, "gate_proj", 3, sweep)
    store.sweeps.delete(run, sweep)
    with pytest.raises(NotFound):
        store.sweeps.get(run, sweep)
    assert store.files.names(f"runs/{run}/sweeps") == []
    assert write(store, run) == sweep
    assert store.neuron_sweep(run, 1, "gate_proj", 3, sweep).points[0].rmse == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sparsities": []}, "at least 1"),
        ({"sparsities": [0.5, 1.5]}, "less than or equal to 1"),
        ({"sparsities": [0.5, float("nan")]}, "less than or equal to 1"),
        ({"at": 0.7}, "not one of the sparsities"),
        ({"patterns": ["5:4"]}, "is no pattern"),
        ({"experts": 0}, "greater than or equal to 1"),
        ({"expert_counts": [1.5]}, "integer"),
        ({"sparsities": [i / 40 for i in range(32)], "at": 0.5}, "at most 64"),
    ],
)
def test_requests_that_make_no_sense_say_so(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SweepRequest.model_validate(REQUEST.model_dump() | change)
