"""Shared bins: a run's histogram gives the dense counts exactly; other samples are counted as NumPy counts them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.numerics.samples import stack
from worker.numerics.bins import BINS, INNER, MARGIN, count_in, shared_bins
from worker.numerics.errors import NumericsFailure
from worker.numerics.histogram import histogram


def from_histogram(ordered: torch.Tensor) -> torch.Tensor:
    """The 256 bins of a run two by two, between 32 zeros on each side."""
    pairs = histogram(ordered).view(len(ordered), INNER, 2).sum(dim=2)
    return torch.nn.functional.pad(pairs, (MARGIN, MARGIN))


@pytest.mark.parametrize("size", [2, 100, 16_384])
@pytest.mark.parametrize("seed", [0, 1])
def test_dense_counts_are_the_runs_histogram_two_by_two(size: int, seed: int) -> None:
    ordered = stack(size, seed).sort(dim=1).values
    bins = shared_bins(ordered[:, 0], ordered[:, -1])
    counts = count_in(ordered, bins)
    assert counts.shape == (8, BINS)
    assert counts.dtype == torch.int32
    assert torch.equal(counts.long(), from_histogram(ordered))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=2, max_size=60), st.integers(0, 4))
def test_so_are_those_of_any_values_many_of_them_on_edges(values: list[float], grid: int) -> None:
    sample = torch.tensor(values, dtype=torch.float32)
    if grid:  # whole numbers from 0 to 128: most of them lie on edges
        sample = torch.cat([sample.remainder(129.0).floor(), torch.tensor([0.0, 128.0])]) * 3.0**-grid
    ordered = sample.sort().values[None]
    bins = shared_bins(ordered[:, 0], ordered[:, -1])
    if not bool(bins.constant[0]):
        assert torch.equal(count_in(ordered, bins).long(), from_histogram(ordered))


def test_other_samples_are_counted_as_numpy_counts_them() -> None:
    dense = stack(3000)[:6].sort(dim=1).values
    changed = (1.3 * stack(500, seed=5)[:6]).sort(dim=1).values
    bins = shared_bins(dense[:, 0], dense[:, -1])
    counts = count_in(changed, bins)
    for neuron, row in enumerate(changed.double().numpy()):
        low, width = float(bins.low[neuron]), float(bins.width[neuron])
        edges = low + width * np.arange(BINS + 1)
        clipped = np.clip(row, edges[0], edges[-1])  # what lies beyond is in the outermost bins
        np.testing.assert_array_equal(counts[neuron], np.histogram(clipped, bins=edges)[0])
    beyond = torch.cat([dense[:, :1] - 1e6, dense[:, -1:] + 1e6], dim=1)
    assert count_in(beyond, bins)[:, [0, -1]].tolist() == [[1, 1]] * 6


def test_constant_neurons_have_bins_in_proportion_to_their_size() -> None:
    low = torch.tensor([0.0, -7.0, 2000.0])
    high = low.clone()
    high[2] = torch.nextafter(low[2], torch.tensor(torch.inf))
    bins = shared_bins(low, high)
    assert bins.constant.all()
    torch.testing.assert_close(bins.width, torch.tensor([1e-3, 7e-3, 2.0], dtype=torch.float64))
    counts = count_in(
        torch.stack([low, low, high, low + 1.5 * bins.width.float()], dim=1).sort().values, bins
    )
    assert counts[:, MARGIN].tolist() == [3, 3, 3]
    assert counts[:, MARGIN + 1].tolist() == [1, 1, 1]


def test_values_above_the_dense_range_are_outside_its_bins() -> None:
    bins = shared_bins(torch.tensor([0.0]), torch.tensor([128.0]))
    above = torch.nextafter(torch.tensor(128.0), torch.tensor(torch.inf))
    below = torch.nextafter(torch.tensor(0.0), torch.tensor(-torch.inf))
    counts = count_in(torch.tensor([[-32.0, float(below), 0.0, 128.0, float(above), 160.0]]), bins)
    filled = counts[0].nonzero()[:, 0].tolist()
    assert filled == [0, MARGIN - 1, MARGIN, MARGIN + INNER - 1, MARGIN + INNER, BINS - 1]


@pytest.mark.parametrize(("low", "high"), [(torch.nan, 1.0), (0.0, torch.inf), (1.0, 0.0)])
def test_ranges_that_are_none_are_refused(low: float, high: float) -> None:
    with pytest.raises(NumericsFailure, match="finite low to a finite high"):
        shared_bins(torch.tensor([low]), torch.tensor([high]))
