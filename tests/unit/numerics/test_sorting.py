"""Sorted rows are exactly NumPy's, whichever way they were sorted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.numerics.samples import stack
from worker.numerics import sorting
from worker.numerics.selection import places_above, places_below
from worker.numerics.sorting import sorted_rows


@pytest.mark.parametrize("size", [5, 1000, 4096, 4111, 16_384])
def test_rows_of_every_shape(size: int) -> None:
    rows = stack(size)
    before = rows.clone()
    np.testing.assert_array_equal(sorted_rows(rows), np.sort(rows.numpy(), axis=1))
    assert torch.equal(rows, before)


def test_rows_that_share_keys_or_hold_nan_and_infinity() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack(
        [
            np.where(rng.random(5000) < 0.001, 1e9, 1.0)
            + 1e-3 * rng.random(5000),  # an outlier squeezes the rest
            np.where(np.arange(5000) == 7, np.nan, rng.random(5000)),
            np.where(np.arange(5000) == 7, -np.inf, rng.random(5000)),
            np.full(5000, 2.5),
            rng.random(5000)[::-1],
        ]
    ).astype(np.float32)
    np.testing.assert_array_equal(sorted_rows(torch.from_numpy(rows)), np.sort(rows, axis=1))


def test_one_thread_or_many_and_views_of_a_larger_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(6, 9000, generator=torch.Generator().manual_seed(0))[:, ::2]
    truth = np.sort(rows.numpy(), axis=1)
    for threads in (1, 3):
        monkeypatch.setattr(sorting.torch, "get_num_threads", lambda threads=threads: threads)
        np.testing.assert_array_equal(sorted_rows(rows), truth)
    np.testing.assert_array_equal(sorted_rows(rows.double()), truth)


def test_places_equal_nonzero() -> None:
    values = torch.randn(7, 50, generator=torch.Generator().manual_seed(0))
    limits = torch.randn(50, generator=torch.Generator().manual_seed(1))
    below, above = places_below(values, limits), places_above(values, limits)
    assert torch.equal(torch.stack(below, 1), (values < limits).nonzero())
    assert torch.equal(torch.stack(above, 1), (values > limits).nonzero())
