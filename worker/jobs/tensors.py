"""A block's inputs as a safetensors file, without a second copy of them in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

NAME = "inputs"
_DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}


def file_parts(batches: Sequence[Tensor]) -> Iterator[memoryview]:
    """The file of the (tokens, d_model) tensor that `batches` (each (B, T, d_model)) make one after the other."""
    width, dtype = batches[0].shape[-1], batches[0].dtype
    tokens = sum(batch.numel() // width for batch in batches)
    size = tokens * width * dtype.itemsize
    entry = {"dtype": _DTYPES[dtype], "shape": [tokens, width], "data_offsets": [0, size]}
    header = json.dumps({NAME: entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    yield memoryview(len(header).to_bytes(8, "little") + header)
    for batch in batches:
        # numpy has no bfloat16: the bytes go out as they are
        yield batch.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def split_file(data: bytes, shapes: Iterable[torch.Size], device: torch.device) -> list[Tensor]:
    """The batches, of the given (B, T, d_model) shapes, that `file_parts` wrote. Bit-equal to what was written."""
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])[NAME]
    dtype = {name: dtype for dtype, name in _DTYPES.items()}[entry["dtype"]]
    width, start = entry["shape"][1], 8 + length
    batches = []
    for shape in shapes:
        # Into memory of torch's own alignment: kernels may round differently on another one.
        batch = torch.empty(*shape[:2], width, dtype=dtype)
        raw = batch.view(-1).view(torch.uint8).numpy()
        raw[:] = np.frombuffer(data, dtype=np.uint8, count=raw.size, offset=start)
        batches.append(batch.to(device))
        start += raw.size
    return batches
