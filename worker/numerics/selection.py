"""Places where a comparison holds that rarely does.

The same as `nonzero` of the comparison; on the CPU through NumPy, whose comparisons and search of sparse masks are
several times as fast.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def places_below(values: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns at which (rows, n) values lie below `limits` (broadcast), row by row; int64."""
    if values.device.type != "cpu":
        rows, columns = (values < limits).nonzero(as_tuple=True)
        return rows, columns
    return _unravel(np.flatnonzero(values.numpy() < limits.numpy()), values.shape[1])


def places_above(values: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns at which (rows, n) values lie above `limits` (broadcast), row by row; int64."""
    if values.device.type != "cpu":
        rows, columns = (values > limits).nonzero(as_tuple=True)
        return rows, columns
    return _unravel(np.flatnonzero(values.numpy() > limits.numpy()), values.shape[1])


def _unravel(flat: np.ndarray[tuple[int], np.dtype[np.int64]], width: int) -> tuple[Tensor, Tensor]:
    places = torch.from_numpy(flat)
    return places.div(width, rounding_mode="floor"), places % width
