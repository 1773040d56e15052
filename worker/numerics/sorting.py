"""Rows sorted by the fastest means of the device.

On a GPU that is `torch.sort`. On the CPU (measured on 16,384 float32 values a row, in ns per value and core) `torch.sort`
takes 65, NumPy's vectorised sort 16, and what is done here 7: NumPy sorts 16-bit keys by radix, so each value gets
a 16-bit key that grows with it, the keys' order puts the values in place but for the few that share a key, and
small blocks sorted on their own put these right. Each row is then checked, and one that is still out of order (more
than a few dozen values that share a key, NaN, infinity) is sorted in the ordinary way: the result is always exact.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.numerics.errors import NumericsFailure
from worker.numerics.workspace import Workspace

_BLOCK = 128
_SEAM = 16
_FEWEST, _MOST = 4096, 1 << 18
"""Row lengths between which the keys pay."""


def sorted_rows(rows: Tensor, space: Workspace | None = None) -> Tensor:
    """Each row of (neurons, n) ascending, NaN at the end; a new tensor of the same shape and dtype, or in `space`."""
    if rows.device.type != "cpu":
        return rows.sort(dim=1).values
    if rows.dtype != torch.float32 or not _FEWEST <= rows.shape[1] <= _MOST:
        copy = rows.detach().clone(memory_format=torch.contiguous_format)
        by_rows(lambda part: part.sort(axis=1), copy.numpy())
        return copy
    space = space or Workspace()
    order = space.like("order", rows, dtype=torch.int64)
    by_rows(_order, _keys(rows, space).numpy(), order.numpy())
    ordered = torch.gather(rows, 1, order, out=space.like("ordered", rows))
    by_rows(_settle, ordered.numpy())
    # Comparing by difference is several times as fast; a NaN difference counts as out of order.
    steps = space.like("first", rows, width=rows.shape[1] - 1)
    settled = torch.sub(ordered[:, 1:], ordered[:, :-1], out=steps).amin(dim=1) >= 0
    for row in (~settled).nonzero()[:, 0].tolist():
        ordered[row] = torch.from_numpy(np.sort(rows[row].numpy()))
    return ordered


def refuse_non_finite(ordered: Tensor, start: int = 0, outputs: str = "outputs") -> None:
    """Raise NumericsFailure when (neurons, n) ascending rows hold NaN or infinity, which lie at their ends.

    start: number of the first neuron, outputs: what the rows are, for the message.
    """
    bad = ~(torch.isfinite(ordered[:, 0]) & torch.isfinite(ordered[:, -1]))
    if bool(bad.any()):
        first = start + int(bad.nonzero()[0, 0])
        raise NumericsFailure(
            f"neuron {first} has NaN or infinity among its {outputs} ({int(bad.sum())} neurons in its chunk)",
            hint="Check the layer's weights and inputs; 16-bit models can overflow: try bfloat16 or float32.",
        )


def by_rows(task: Callable[..., object], *arrays: NDArray[np.generic]) -> None:
    """Run `task` on the same slice of rows of every array, one slice for each of torch's threads.

    For NumPy calls that release the interpreter's lock and write in place.
    """
    threads = min(torch.get_num_threads(), len(arrays[0]))
    if threads <= 1:
        task(*arrays)
        return
    slices = zip(*(np.array_split(array, threads) for array in arrays), strict=True)
    for future in [_pool(threads).submit(task, *parts) for parts in slices]:
        future.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rows")


def _keys(rows: Tensor, space: Workspace) -> Tensor:
    """Keys that grow with the value: d / (|d| + s), d the distance to the row's mean, s the mean of |d|.

    They spread over 16 bits with the finest steps near the mean, where values are dense, whatever the tails.
    """
    distance = torch.sub(rows, rows.mean(dim=1, keepdim=True), out=space.like("first", rows))
    spread = torch.abs(distance, out=space.like("second", rows))
    spread += spread.mean(dim=1, keepdim=True)
    distance /= spread
    return space.like("keys", rows, dtype=torch.uint16).copy_(distance.mul_(32767.0).add_(32768.0))


def _order(keys: NDArray[np.uint16], order: NDArray[np.int64]) -> None:
    for row, places in zip(keys, order, strict=True):
        places[:] = np.argsort(row, kind="stable")


def _settle(rows: NDArray[np.float32]) -> None:
    """Sort blocks of 128, then the seams between them, in place."""
    count, length = rows.shape
    whole = length // _BLOCK * _BLOCK
    rows[:, :whole].reshape(count, -1, _BLOCK).sort(axis=2)
    seams = rows[:, _BLOCK - _SEAM : whole - _SEAM].reshape(count, -1, _BLOCK)[:, :, : 2 * _SEAM]
    seams.sort(axis=2)
    rows[:, whole - _SEAM :].sort(axis=1)
