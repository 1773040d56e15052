"""Sparse tensors in little space: a bit for each element, and the values that are not zero.

Element i of the flattened tensor is bit 7 - i % 8 of byte i // 8, as `numpy.packbits` has it. The round trip is exact
but for -0.0, which comes back as 0.0.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import IO

import numpy as np
import torch
from torch import Tensor

from app.errors import CorruptFile, ModelError
from worker.models.tensorfile import NAMES, Spec, TensorReader, TensorWriter, spec
from worker.numerics.router import CentroidRouter, RandomRouter, Router

_PARTS = ("mask", "values", "shape")
_KEY = "packed"
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers of as many bytes."""
_PICKED = 1 << 18
"""Elements from which values are picked at a time."""


def pack(tensor: Tensor) -> dict[str, Tensor]:
    """`mask` (elements / 8, rounded up) uint8, `values` (non-zeros,) in the tensor's dtype, `shape` int64; on the CPU."""
    flat = tensor.detach().cpu().reshape(-1)
    kept = (flat != 0).numpy()
    # numpy picks values four times as fast as torch, and knows no bfloat16: it sees the bits. Some at a time, since it
    # makes a list of 64-bit places first.
    bits = flat.view(_BITS[flat.element_size()]).numpy()
    picked = np.empty(int(np.count_nonzero(kept)), dtype=bits.dtype)
    stop = 0
    for start in range(0, len(bits), _PICKED):
        here = slice(start, start + _PICKED)
        part = np.compress(kept[here], bits[here])
        picked[stop : stop + len(part)] = part
        stop += len(part)
    return {
        "mask": torch.from_numpy(np.packbits(kept)),
        "values": torch.from_numpy(picked).view(flat.dtype),
        "shape": torch.tensor(tuple(tensor.shape), dtype=torch.int64),
    }


def _non_zeros(tensor: Tensor) -> int:
    return int(np.count_nonzero((tensor.detach() != 0).cpu().numpy()))


def unpack(parts: Mapping[str, Tensor]) -> Tensor:
    """The tensor of `pack`'s parts, on their device. Raises CorruptFile when they do not fit together."""
    shape = tuple(parts["shape"].tolist())
    return _fill(parts["mask"], 0, parts["values"], shape)


def _fill(mask: Tensor, first_bit: int, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Tensor of `shape` with `values` where the bits from `first_bit` on are set."""
    kept = _bits(mask, first_bit, prod(shape))
    if int(torch.count_nonzero(kept)) != len(values):
        raise CorruptFile("A packed tensor has another number of values than its mask.")
    result = torch.zeros(kept.numel(), dtype=values.dtype, device=values.device)
    return result.masked_scatter_(kept, values).reshape(shape)


def _bits(mask: Tensor, first: int, count: int) -> Tensor:
    """(count,) bool of the bits from `first` on. Raises CorruptFile when there are fewer."""
    some = mask[first // 8 : (first + count + 7) // 8]
    skip = first % 8
    bits = torch.from_numpy(np.unpackbits(some.numpy())).bool() if mask.is_cpu else _bits_of(some)
    if bits.numel() < skip + count:
        raise CorruptFile("A packed tensor's mask is shorter than the tensor.")
    return bits[skip : skip + count]


def _bits_of(mask: Tensor) -> Tensor:
    """(8 * bytes,) bool, on the mask's device."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=mask.device)
    return ((mask[:, None] >> shifts) & 1).bool().reshape(-1)


@dataclass(frozen=True)
class Packed:
    """A tensor that stays packed; `packed[i]` unpacks only the i-th of its first dimension."""

    mask: Tensor
    values: Tensor
    shape: tuple[int, ...]
    starts: tuple[int, ...]
    """Where the values of each of the first dimension begin, and where the last ends."""

    @classmethod
    def of(cls, parts: Mapping[str, Tensor]) -> Packed:
        """From `pack`'s parts. Raises CorruptFile when they do not fit together."""
        shape = tuple(parts["shape"].tolist())
        count, each, starts = shape[0] if shape else 1, prod(shape[1:]), [0]
        for i in range(count):
            starts.append(starts[-1] + int(torch.count_nonzero(_bits(parts["mask"], i * each, each))))
        if starts[-1] != len(parts["values"]):
            raise CorruptFile("A packed tensor has another number of values than its mask.")
        return cls(parts["mask"], parts["values"], shape, tuple(starts))

    def __getitem__(self, i: int) -> Tensor:
        """(shape[1:]) the i-th, unpacked, on the parts' device."""
        values = self.values[self.starts[i] : self.starts[i + 1]]
        return _fill(self.mask, i * prod(self.shape[1:]), values, self.shape[1:])

    def unpack(self) -> Tensor:
        """All of it."""
        return _fill(self.mask, 0, self.values, self.shape)

    def to(self, device: torch.device | str) -> Packed:
        """The same on `device`."""
        return replace(self, mask=self.mask.to(device), values=self.values.to(device))

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return self.mask.nbytes + self.values.nbytes


def write(
    stream: IO[bytes],
    tensors: Mapping[str, Tensor],
    packed: Collection[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors to a stream that can seek, as safetensors; those named in `packed` take little space.

    Needs memory for one packed tensor. Raises ValueError for a name in `packed` that is none of the tensors'.
    """
    names = sorted(packed)
    if not set(names) <= set(tensors):
        raise ValueError(f"no such tensors: {sorted(set(names) - set(tensors))}")
    specs: dict[str, Spec] = {}
    for name, tensor in tensors.items():
        if name not in packed:
            specs[name] = spec(tensor)
            continue
        specs[f"{name}.mask"] = ("U8", ((tensor.numel() + 7) // 8,))
        specs[f"{name}.values"] = (NAMES[tensor.dtype], (_non_zeros(tensor),))
        specs[f"{name}.shape"] = ("I64", (tensor.dim(),))
    writer = TensorWriter(stream, specs, {**(metadata or {}), _KEY: json.dumps(names)})
    for name, tensor in tensors.items():
        parts = (
            {f"{name}.{part}": value for part, value in pack(tensor).items()}
            if name in packed
            else {name: tensor}
        )
        for part, value in parts.items():
            writer.write(part, value)
    writer.close()


def to_bytes(
    tensors: Mapping[str, Tensor], packed: Collection[str] = (), metadata: Mapping[str, str] | None = None
) -> bytes:
    """Tensors as one safetensors blob; those named in `packed` take little space. Memory: the blob and one tensor."""
    stream = io.BytesIO()
    write(stream, tensors, packed, metadata)
    return stream.getvalue()


def open_bytes(blob: bytes | bytearray | memoryview) -> dict[str, Tensor | Packed]:
    """The tensors of a blob; packed ones stay packed. Raises CorruptFile."""
    reader = TensorReader(blob)
    names = json.loads(reader.metadata.get(_KEY, "[]"))
    inner = {f"{name}.{part}" for name in names for part in _PARTS}
    if not inner <= set(reader.names()):
        raise CorruptFile(f"A packed tensor lacks the parts {sorted(inner - set(reader.names()))}.")
    found: dict[str, Tensor | Packed] = {
        name: reader.read(name) for name in reader.names() if name not in inner
    }
    for name in names:
        found[name] = Packed.of({part: reader.read(f"{name}.{part}") for part in _PARTS})
    return found


def from_bytes(blob: bytes | bytearray | memoryview) -> dict[str, Tensor]:
    """The tensors of a blob, unpacked. Raises CorruptFile."""
    opened = open_bytes(blob)
    result: dict[str, Tensor] = {}
    for name in list(opened):
        value = opened.pop(name)
        result[name] = value.unpack() if isinstance(value, Packed) else value
    return result


def router_tensors(router: Router) -> dict[str, Tensor]:
    """A router as tensors on the CPU. Raises ModelError for a kind that has none."""
    if isinstance(router, CentroidRouter):
        found = {"mean": router.mean, "components": router.components, "centroids": router.centroids}
    elif isinstance(router, RandomRouter):
        found = {"shares": router.shares, "seed": torch.tensor(router.seed, dtype=torch.int64)}
    else:
        raise ModelError(f"A router of the kind {type(router).__name__} cannot be stored.")
    return {name: value.detach().cpu() for name, value in found.items()}


def router_from(tensors: Mapping[str, Tensor]) -> CentroidRouter | RandomRouter:
    """The router of `router_tensors`. Raises CorruptFile when they are none."""
    if {"mean", "components", "centroids"} <= set(tensors):
        return CentroidRouter(tensors["mean"], tensors["components"], tensors["centroids"])
    if {"shares", "seed"} <= set(tensors):
        return RandomRouter(tensors["shares"], int(tensors["seed"]))
    raise CorruptFile(f"These tensors are no router: {sorted(tensors)}.")
