"""Stored inputs are real safetensors files and come back bit-equal."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from worker.jobs.tensors import file_parts, split_file

SHAPES = [torch.Size([2, 5, 6]), torch.Size([1, 3, 6])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_there_and_back(dtype: torch.dtype) -> None:
    batches = [torch.randn(shape).to(dtype) for shape in SHAPES]
    data = b"".join(file_parts(batches))
    loaded = safetensors.torch.load(data)["inputs"]
    assert torch.equal(loaded, torch.cat([b.reshape(-1, 6) for b in batches]))
    back = split_file(data, SHAPES, torch.device("cpu"))
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(batches, back, strict=True))


def test_views_are_written_as_they_read() -> None:
    batch = torch.randn(6, 5, 2).permute(2, 1, 0)
    loaded = safetensors.torch.load(b"".join(file_parts([batch])))["inputs"]
    assert torch.equal(loaded, batch.reshape(-1, 6))
