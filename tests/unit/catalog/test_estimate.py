"""What a run would take, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import catalog
from app.catalog.convert import converted_folder
from app.schemas.model import Estimate, ModelInspection
from app.settings import Settings


@pytest.fixture(scope="module")
def demo() -> ModelInspection:
    return catalog.inspect_model(catalog.resolve("demo", Settings()))


def estimate(demo: ModelInspection, tokens: int = 8192, gflops: float = 100.0, **values: object) -> Estimate:
    return catalog.estimate(demo, tokens, 512, Settings(**values), gflops, "measured")


def test_the_store_holds_each_blocks_inputs_and_every_neurons_arrays(demo: ModelInspection) -> None:
    inputs = 30 * 8192 * 576 * 4
    assert inputs < estimate(demo).store_bytes < inputs + 109_440 * 2600


def test_more_tokens_take_more_of_everything(demo: ModelInspection) -> None:
    few, many = estimate(demo, 4096), estimate(demo, 65_536)
    assert few.host_bytes < many.host_bytes
    assert few.store_bytes < many.store_bytes
    assert few.seconds * 10 < many.seconds


def test_memory_grows_with_tokens_by_a_few_streams_not_by_blocks(
    demo: ModelInspection, tmp_path: Path
) -> None:
    converted_folder(Settings(cache=tmp_path), demo.fingerprint).mkdir(parents=True)
    few, many = estimate(demo, 100_000, cache=tmp_path), estimate(demo, 200_000, cache=tmp_path)
    stream = 100_000 * 576 * 4
    assert 3 * stream < many.host_bytes - few.host_bytes < 6 * stream


def test_smaller_settings_that_the_hints_name_take_less_memory(demo: ModelInspection) -> None:
    many = estimate(demo, 100_000)
    assert estimate(demo, 100_000, chunk_mebibytes=64).device_bytes < many.device_bytes
    assert estimate(demo, 100_000, batch_tokens=512).device_bytes < many.device_bytes


def test_the_demo_is_estimated_near_what_it_takes(demo: ModelInspection, tmp_path: Path) -> None:
    """Measured: 994 MiB of memory; 1,605 bytes a neuron and 18.9 MB a block in the store."""
    converted_folder(Settings(cache=tmp_path), demo.fingerprint).mkdir(parents=True)
    found = estimate(demo, cache=tmp_path)
    assert 994 * 2**20 < found.host_bytes < 1.5 * 994 * 2**20
    assert found.store_bytes == pytest.approx(30 * 18_874_456 + 109_440 * 1605, rel=0.02)


def test_dequantising_is_counted_until_it_is_done(demo: ModelInspection, tmp_path: Path) -> None:
    large = demo.model_copy(update={"parameters": 8_000_000_000})
    before = catalog.estimate(large, 512, 512, Settings(cache=tmp_path), 1.0, "")
    assert before.host_bytes > 4 * 8_000_000_000
    converted_folder(Settings(cache=tmp_path), demo.fingerprint).mkdir(parents=True)
    after = catalog.estimate(large, 512, 512, Settings(cache=tmp_path), 1.0, "")
    assert after.host_bytes < before.host_bytes


def test_a_faster_device_takes_less_time(demo: ModelInspection) -> None:
    assert estimate(demo, gflops=1000.0).seconds < estimate(demo, gflops=50.0).seconds
    assert estimate(demo).basis == "measured"


def test_without_a_measured_worker_the_basis_says_so(demo: ModelInspection) -> None:
    found = catalog.estimate(demo, 8192, 512, Settings(), 0.0, "")
    assert found.seconds > 0
    assert "no live worker" in found.basis
