"""What a sweep would take, and the batches in which its points are made."""

from __future__ import annotations

import pytest

from app import catalog
from app.catalog import Pace, batches
from app.catalog.estimate_sweep import WEIGHTS_BYTES
from app.schemas.run import RunModel
from app.schemas.sweep import SweepRequest, settings_of
from app.settings import Settings

PACE = Pace(150.0, "cpu", 1)
REQUEST = SweepRequest(layer=15, projection="up_proj")
POINTS = settings_of(REQUEST)


@pytest.fixture(scope="module")
def demo() -> RunModel:
    found = catalog.inspect_model(catalog.resolve("demo", Settings()))
    return RunModel(**found.model_dump(include=set(RunModel.model_fields)))


def test_points_of_one_number_of_experts_go_together_as_far_as_their_weights_fit() -> None:
    layer = 576 * 1536 * 4
    made = batches(POINTS, layer)
    assert [point for batch in made for point in batch] == list(POINTS)
    assert [len(batch) for batch in made] == [12, 4, 4, 4, 1, 1, 1, 1]
    for batch in made:
        experts = {getattr(point, "experts", 1) for point in batch}
        assert len(experts) == 1
        assert len(batch) * experts.pop() * layer <= WEIGHTS_BYTES or len(batch) == 1
    assert [len(batch) for batch in batches(POINTS, WEIGHTS_BYTES)] == [1] * len(POINTS)


def test_the_demo_takes_tens_of_seconds_and_two_gigabytes(demo: RunModel) -> None:
    """32 s and 1,965 MiB were measured on two quiet cores of 150 GFLOP/s."""
    layer = demo.projections[1]
    found = catalog.estimate_sweep(demo, layer, POINTS, 16_384, Settings(), PACE)
    assert 16 < found.seconds < 64
    assert 1.9e9 < found.host_bytes < 3.5e9
    half = catalog.estimate_sweep(demo, layer, POINTS[14:], 16_384, Settings(), PACE)
    assert half.seconds < found.seconds
    assert half.store_bytes == pytest.approx(found.store_bytes / 2, rel=0.01)


def test_nothing_missing_takes_nothing_and_no_worker_is_said(demo: RunModel) -> None:
    found = catalog.estimate_sweep(demo, demo.projections[1], [], 100, Settings(), Pace(0.0, "", 0))
    assert (found.seconds, found.host_bytes, found.store_bytes) == (0, 0, 0)
    assert "no live worker" in found.basis
