"""Memory that a loop over chunks uses again and again.

On the CPU, touching fresh memory costs several times as much as the arithmetic done in it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Workspace:
    """Named buffers; asking for a name again gives the same memory, so what it held before is gone."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def like(
        self, name: str, rows: Tensor, *, width: int | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """An uninitialised contiguous tensor of the shape, device and dtype of (neurons, n) `rows`, or other `width`."""
        shape = (rows.shape[0], rows.shape[1] if width is None else width)
        dtype = dtype or rows.dtype
        count = shape[0] * shape[1]
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count or buffer.dtype != dtype or buffer.device != rows.device:
            buffer = torch.empty(count, dtype=dtype, device=rows.device)
            self._buffers[name] = buffer
        return buffer[:count].view(shape)
