"""Packed sparse tensors: exact round trips, and blobs that safetensors' own reader understands."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from app.errors import CorruptFile, ModelError
from worker.models import packed
from worker.models.packed import (
    Packed,
    from_bytes,
    open_bytes,
    pack,
    router_from,
    router_tensors,
    to_bytes,
    unpack,
    write,
)
from worker.models.tensorfile import TensorWriter
from worker.numerics.router import CentroidRouter, RandomRouter

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def sparse(
    shape: tuple[int, ...], share: float = 0.8, dtype: torch.dtype = torch.float32, seed: int = 0
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator) + 3.0
    return (values * (torch.rand(shape, generator=generator) >= share)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.97, 1.0])
@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (8,), (5, 13), (3, 4, 5), (16, 8, 8), (0,), (4, 0, 3)], ids=str
)
def test_round_trip_is_exact(shape: tuple[int, ...], share: float, dtype: torch.dtype) -> None:
    tensor = sparse(shape, share, dtype)
    parts = pack(tensor)
    assert parts["mask"].numel() == (tensor.numel() + 7) // 8
    assert len(parts["values"]) == int((tensor != 0).sum())
    for back in (unpack(parts), from_bytes(to_bytes({"a": tensor}, ["a"]))["a"]):
        assert (back.dtype, back.shape) == (dtype, tensor.shape)
        assert torch.equal(back, tensor)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32), max_size=70))
def test_any_value_survives(values: list[float]) -> None:
    tensor = torch.tensor(values, dtype=torch.float32)
    back = unpack(pack(tensor))
    same = back.view(torch.int32) == tensor.view(torch.int32)
    assert (same | ((tensor == 0) & (back.view(torch.int32) == 0))).all()  # -0.0 comes back as 0.0


def test_bits_are_numpys() -> None:
    tensor = sparse((5, 13), 0.5)
    assert np.array_equal(pack(tensor)["mask"].numpy(), np.packbits(tensor.numpy().reshape(-1) != 0))


def test_bits_on_other_devices_are_the_same() -> None:
    mask = torch.arange(256, dtype=torch.uint8)
    assert np.array_equal(packed._bits_of(mask).numpy(), np.unpackbits(mask.numpy()).astype(bool))


def test_a_view_is_packed_like_its_copy() -> None:
    tensor = sparse((13, 5)).T
    assert torch.equal(unpack(pack(tensor)), tensor)


@pytest.mark.parametrize("shape", [(3, 5, 7), (4, 8, 8), (1, 3), (2, 0)], ids=str)
def test_one_of_many_is_unpacked_alone(shape: tuple[int, ...]) -> None:
    tensor = sparse(shape, 0.6, torch.bfloat16)
    some = Packed.of(pack(tensor)).to("cpu")
    assert some.shape == shape
    assert torch.equal(some.unpack(), tensor)
    for i in range(shape[0]):
        assert torch.equal(some[i], tensor[i])


def test_a_blob_is_safetensors(tmp_path: Path) -> None:
    tensors = {
        "half": sparse((3, 5), 0.5, torch.float16),
        "odd": torch.arange(3, dtype=torch.uint8),
        "labels": torch.arange(7),
        "bfloat": sparse((11, 3, 3), 0.9, torch.bfloat16),
        "flags": torch.tensor([True, False, True]),
        "mean": torch.randn(5),
        "none": torch.empty(0, 4),
        "one": torch.tensor(2.5),
    }
    blob = to_bytes(tensors, {"half", "bfloat"}, {"note": "tiny"})
    back = from_bytes(blob)
    assert set(back) == set(tensors)
    assert all(
        torch.equal(back[name], value) and back[name].dtype == value.dtype for name, value in tensors.items()
    )
    opened = open_bytes(memoryview(blob))
    assert {name for name, value in opened.items() if isinstance(value, Packed)} == {"half", "bfloat"}
    theirs = safetensors.torch.load(blob)
    assert torch.equal(theirs["mean"], tensors["mean"])
    assert torch.equal(
        unpack({part: theirs[f"half.{part}"] for part in ("mask", "values", "shape")}), tensors["half"]
    )
    with (tmp_path / "file.safetensors").open("wb") as stream:
        write(stream, tensors, {"half", "bfloat"}, {"note": "tiny"})
    assert (tmp_path / "file.safetensors").read_bytes() == blob
    with safe_open(
        tmp_path / "file.safetensors", "pt"
    ) as file:  # reads in place: needs tensors that are aligned
        assert file.metadata()["note"] == "tiny"
        assert all(torch.equal(file.get_tensor(name), theirs[name]) for name in theirs)


def test_sparse_tensors_take_little_space() -> None:
    tensor = sparse((256, 256), 0.9, torch.bfloat16)
    assert len(to_bytes({"a": tensor}, ["a"])) < 0.18 * tensor.nbytes


def test_memory_is_the_blob_and_a_tensor() -> None:
    tensors = {f"t{i}": torch.ones(1 << 20) for i in range(8)}
    size = 8 * (4 << 20)
    for names in ([], list(tensors)):
        tracemalloc.start()
        blob = to_bytes(tensors, names)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # The blob with a stream's spare room, and two packed tensors.
        assert peak < 1.25 * len(blob) + 2 * (4 << 20)
        assert len(blob) > size


def test_damage_is_noticed() -> None:
    blob = to_bytes({"a": sparse((9, 9)), "b": torch.ones(3)}, ["a"])
    for damaged in (blob[:-3], blob[:20], b"", b"\xff" * 64, blob[:8] + b"{" * (len(blob) - 8)):
        with pytest.raises(CorruptFile):
            from_bytes(damaged)
    parts = pack(sparse((9, 9)))
    for name, value in [
        ("values", parts["values"][:-1]),
        ("mask", parts["mask"][:-1]),
        ("shape", torch.tensor([8, 9])),
    ]:
        with pytest.raises(CorruptFile):
            unpack({**parts, name: value})
        with pytest.raises(CorruptFile):
            Packed.of({**parts, name: value})


def test_names_have_to_exist() -> None:
    with pytest.raises(ValueError, match="no such tensors"):
        to_bytes({"a": torch.ones(3)}, ["b"])


def test_a_writer_gets_every_tensor_once(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as stream:
        writer = TensorWriter(stream, {"a": ("F32", (3,)), "b": ("F32", (2,))})
        with pytest.raises(ValueError, match="the header does not say"):
            writer.write("a", torch.ones(4))
        writer.write("b", torch.ones(2))
        with pytest.raises(ValueError, match="came twice"):
            writer.write("b", torch.ones(2))
        with pytest.raises(ValueError, match="not written"):
            writer.close()


def test_routers_come_back() -> None:
    inputs = torch.randn(50, 6)
    centroid = CentroidRouter(torch.randn(6), torch.randn(2, 6), torch.randn(4, 2))
    random = RandomRouter(torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64), 2**40 + 7)
    for router in (centroid, random):
        back = router_from(from_bytes(to_bytes(router_tensors(router))))
        assert type(back) is type(router)
        assert torch.equal(back.assign(inputs), router.assign(inputs))
    with pytest.raises(CorruptFile, match="no router"):
        router_from({"mean": torch.ones(3)})
    with pytest.raises(ModelError, match="kind object"):
        router_tensors(object())  # type: ignore[arg-type]
