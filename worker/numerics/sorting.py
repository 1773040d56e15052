"""Rows sorted by the fastest means of the device.

On the CPU, NumPy's vectorised sort of float32 in one thread per core (it releases the interpreter's lock) is about
five times as fast as `torch.sort`, which also moves the indices.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor


def sorted_rows(rows: Tensor) -> Tensor:
    """A new tensor of the same shape and dtype with each row of (neurons, n) ascending; NaN goes to the end."""
    if rows.device.type != "cpu":
        return rows.sort(dim=1).values
    copy = rows.detach().clone(memory_format=torch.contiguous_format)
    parts = np.array_split(copy.numpy(), max(1, min(torch.get_num_threads(), len(copy))))
    if len(parts) == 1:
        parts[0].sort(axis=1)
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda part: part.sort(axis=1), parts))
    return copy
