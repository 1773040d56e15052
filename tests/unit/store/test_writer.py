"""Writing: atomic, checked, and clear about what went wrong."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from app.errors import CorruptStore, NotFound, StoreError, StoreFull
from app.schemas.layer import MapQuery
from app.schemas.neuron import NeuronQuery
from app.schemas.run import RunState
from app.store import Store
from tests.unit.store.made import BLOCKS, make_run, request, write_block
from tests.unit.store.made import model as made_model


def file(store: Store, run: str, name: str) -> Path:
    return Path(store.files.path(f"runs/{run}/{name}"))


def test_nothing_is_left_aside(store: Store, run: str) -> None:
    left = [p for p in Path(store.files.root).rglob("*") if p.name.endswith(".tmp")]
    assert left == []
    assert store.verify(run) == []


def test_inputs_come_back(store: Store, run: str) -> None:
    assert store.read_inputs(run, 1) == b"inputs of 1"
    with pytest.raises(NotFound):
        store.read_inputs(run, 7)


def test_without_manifest_a_block_does_not_exist(store: Store) -> None:
    run = make_run(store, blocks=2)
    file(store, run, "blocks/0001/manifest.json").unlink()
    fresh = Store(store.files.url)
    assert fresh.blocks_done(run) == [0]
    assert fresh.neurons(run, NeuronQuery()).total == 90


def test_writing_inputs_makes_a_block_unfinished(store: Store) -> None:
    run = make_run(store, blocks=2)
    store.write_inputs(run, 1, [b"new"])
    assert store.blocks_done(run) == [0]


def test_half_files_of_a_killed_writer_go(store: Store) -> None:
    run = make_run(store, blocks=1)
    half = file(store, run, "blocks/0001/.inputs.safetensors.0123.tmp")
    half.parent.mkdir()
    half.write_bytes(b"half")
    write_block(store, run, 1)
    assert not half.exists()
    assert store.blocks_done(run) == [0, 1]


def test_finish_refuses_missing_blocks(store: Store) -> None:
    run = make_run(store, blocks=2)
    with pytest.raises(CorruptStore, match="1 blocks"):
        store.finish(run, seconds=0)
    assert store.run(run).state is RunState.incomplete


@pytest.mark.parametrize(
    "name",
    [
        "blocks/0001/inputs.safetensors",
        "blocks/0001/scores.parquet",
        "blocks/0001/arrays.zarr/gate_proj/counts/c/0/0",
        "scores.parquet",
        "tokens.parquet",
    ],
)
@pytest.mark.parametrize("how", ["flipped", "truncated", "missing"])
def test_damage_is_found_and_named(store: Store, run: str, name: str, how: str) -> None:
    path = file(store, run, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data if how == "flipped" else data[: len(data) // 2])
    assert store.verify(run) == [f"runs/{run}/{name}"]


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing"])
def test_damaged_array_is_named_on_reading(store: Store, run: str, how: str) -> None:
    path = file(store, run, "blocks/0001/arrays.zarr/gate_proj/counts/c/0/0")
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data if how == "flipped" else data[:50])
    with pytest.raises(CorruptStore, match=r"blocks/0001/arrays\.zarr/gate_proj/counts"):
        store.neuron(run, 1, "gate_proj", 0)
    assert store.neuron(run, 2, "gate_proj", 0).index == 0


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing"])
def test_damaged_tables_are_named_on_reading(store: Store, run: str, how: str) -> None:
    for name in ("scores.parquet", "tokens.parquet"):
        path = file(store, run, name)
        data = bytearray(path.read_bytes())
        data[20] ^= 0xFF
        if how == "missing":
            path.unlink()
        else:
            path.write_bytes(data if how == "flipped" else data[:-8])
    fresh = Store(store.files.url)
    with pytest.raises(CorruptStore, match=r"scores\.parquet"):
        fresh.layers(run)
    with pytest.raises(CorruptStore, match=r"tokens\.parquet"):
        fresh.tokens(run)


def test_damaged_inputs_are_named_on_reading(store: Store, run: str) -> None:
    file(store, run, "blocks/0001/inputs.safetensors").write_bytes(b"inputs of 2")
    with pytest.raises(CorruptStore, match=r"0001/inputs\.safetensors.*checksum"):
        store.read_inputs(run, 1)
    assert store.verify_block(run, 1) == [f"runs/{run}/blocks/0001/inputs.safetensors"]


def test_damaged_records_are_named(store: Store, run: str) -> None:
    file(store, run, "manifest.json").write_text('{"finished_at": 3')
    with pytest.raises(CorruptStore, match=r"manifest\.json"):
        Store(store.files.url).run(run)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_store(store: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    run = make_run(store, blocks=1)

    def full(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull, match="No space") as caught:
        write_block(store, run, 1)
    assert "WASSERSCOPE_STORE" in caught.value.hint
    monkeypatch.undo()
    assert store.blocks_done(run) == [0]
    assert list(Path(store.files.root).rglob("*.tmp")) == []
    write_block(store, run, 1)
    assert store.blocks_done(run) == [0, 1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small tmpfs needs root and CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_really_full_disk(small_disk: Path) -> None:
    store = Store(str(small_disk / "store"))
    run = make_run(store, blocks=1)
    with pytest.raises(StoreFull):
        store.write_inputs(run, 1, [bytes(2 << 20)])
    assert store.blocks_done(run) == [0]
    assert store.verify(run) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; see the next test")
def test_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    part = Store(str(tmp_path / "store")).check()
    tmp_path.chmod(0o700)
    assert not part.ok
    assert "No permission" in part.detail


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_read_only_store(store: Store, run: str, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def denied(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("app.store.files._dump", denied)
    with pytest.raises(StoreError, match="No permission to write"):
        store.create_run(request(seed=5), made_model())
    part = store.check()
    assert not part.ok
    assert "No permission" in part.detail
    assert store.neuron(run, 0, "gate_proj", 1).index == 1


def test_store_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    part = Store(str(tmp_path / "taken")).check()
    assert not part.ok
    assert "Cannot write" in part.detail


def test_a_remote_store_reads_and_writes_the_same() -> None:
    url = "memory://wasserscope-test"
    try:
        store = Store(url)
        run = make_run(store)
        fresh = Store(url)
        assert fresh.id == store.id
        assert fresh.run(run).state is RunState.finished
        assert fresh.verify(run) == []
        assert fresh.neuron(run, 1, "gate_proj", 65).distribution.counts[0] == 65_001
        assert len(fresh.run_map(run, MapQuery(bins=8)).rows) == 2 * BLOCKS
        assert fresh.check().ok
        fresh.delete_run(run)
        assert fresh.runs(5, 0).total == 0
    finally:
        fsspec.filesystem("memory").store.clear()
