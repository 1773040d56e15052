"""What pruning or expansion did to each neuron: its changed outputs beside the dense ones.

Each sample is sorted once; distances, WD and counts are read off the sorted rows. Neurons are taken a few at a time so
that they stay in the processor's cache; how many changes nothing but the last bits of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from worker.numerics.bins import SharedBins, count_in, shared_bins
from worker.numerics.errors import NumericsFailure
from worker.numerics.moments import is_constant, standardise
from worker.numerics.sorting import refuse_non_finite, sorted_rows
from worker.numerics.wasserstein import NormalTable, normal_table, wasserstein_to_normal
from worker.numerics.workspace import Workspace

CHUNK_VALUES = {"cpu": 1 << 19, "cuda": 1 << 26}
"""Outputs compared together; as in `scoring`."""


@dataclass(frozen=True)
class Comparison:
    """Changed outputs of (neurons,) neurons against the dense ones, on the CPU, in the outputs' units."""

    low: Tensor
    """(neurons,) float64: lower edge of the first shared bin."""
    width: Tensor
    """(neurons,) float64: of a shared bin."""
    counts: Tensor
    """(neurons, 192) int32: changed outputs in the shared bins."""
    wd: Tensor
    """(neurons,) float64: WD of the changed outputs to a Gaussian (Eq. 1); NaN where they are constant."""
    w1: Tensor
    """(neurons,) float64: W1 between the changed and the dense outputs, another thing than WD."""
    rmse: Tensor
    """(neurons,) float64: root of the mean squared output error."""
    squared_error: Tensor
    """(neurons,) float64: squared output error summed over the tokens."""
    dense_spread: Tensor
    """(neurons,) float64: squared distance of the dense outputs from their mean, summed over the tokens."""

    @property
    def relative_error(self) -> float:
        """Squared error over variance, both summed over tokens and neurons: 0 is perfect, 1 is what predicting each
        neuron's mean would give. NaN when no dense neuron varies and there is no error, infinite when there is."""
        return float(self.squared_error.sum() / self.dense_spread.sum())


def compare_outputs(
    dense: Tensor, changed: Tensor, bins: SharedBins | None = None, *, ordered: Tensor | None = None
) -> Comparison:
    """Compare each row of two (neurons, tokens) outputs of one layer; no argument is changed.

    Any float dtype, compared as float32, on any device. bins: of these neurons; from the dense outputs' own range if
    not given. ordered: the dense rows ascending, as `sorted_rows` gives them, where one dense chunk meets several
    changed ones; sorted here if not given.
    Raises NumericsFailure on NaN or infinity, naming the first such neuron, and when the shapes differ.
    """
    if dense.shape != changed.shape or dense.ndim != 2 or dense.shape[1] == 0:
        raise NumericsFailure(
            f"outputs of shapes {tuple(dense.shape)} and {tuple(changed.shape)} do not compare"
        )
    dense = _on_device(dense)
    changed = changed.detach().to(dense.device)
    table = normal_table(dense.shape[1]).to(dense.device)
    own, other = Workspace(), Workspace()
    parts = []
    for here in row_chunks(dense):
        rows = dense[here].float()
        dense_ordered = sorted_rows(rows, own) if ordered is None else ordered[here].to(dense.device)
        refuse_non_finite(dense_ordered, here.start, "dense outputs")
        shared = shared_bins(dense_ordered[:, 0], dense_ordered[:, -1]) if bins is None else bins.rows(here)
        part = _compare(rows, dense_ordered, changed[here].float(), shared, table, other, here.start)
        parts.append(part)
    return joined(parts)


def joined(parts: Sequence[Comparison]) -> Comparison:
    """The comparisons of chunks of a layer's neurons as one."""
    return Comparison(
        *(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Comparison))
    )


def relative_improvement(pruned_rmse: Tensor, expanded_rmse: Tensor) -> Tensor:
    """RI = RMSE(dense, SparseGPT) / RMSE(dense, expansion) of each neuron, float64.

    1 where both are 0; infinite where only the expansion's is.
    """
    ratio = pruned_rmse.double() / expanded_rmse.double()
    return torch.where((pruned_rmse == 0) & (expanded_rmse == 0), 1.0, ratio)


def distance_to_normal(ordered: Tensor, table: NormalTable, space: Workspace | None = None) -> Tensor:
    """WD of (neurons, n) ascending float32 rows; (neurons,) float64, NaN for constant ones and single values."""
    constant = is_constant(ordered[:, 0], ordered[:, -1])
    distance = wasserstein_to_normal(standardise(ordered, space)[1], table, space)
    return torch.where(constant, torch.nan, distance)


def row_chunks(rows: Tensor, width: int | None = None) -> list[slice]:
    """Slices of (neurons, n) rows to take together, for rows of n or `width` values; at least one."""
    step = max(1, CHUNK_VALUES[rows.device.type] // (width or rows.shape[1]))
    starts = range(0, max(1, len(rows)), step)
    return [slice(start, min(start + step, len(rows))) for start in starts]


def _on_device(outputs: Tensor) -> Tensor:
    """MPS has no float64, and shares its memory with the CPU."""
    return outputs.detach() if outputs.device.type in CHUNK_VALUES else outputs.detach().cpu()


def _compare(
    dense: Tensor,
    dense_ordered: Tensor,
    changed: Tensor,
    bins: SharedBins,
    table: NormalTable,
    space: Workspace,
    start: int,
) -> Comparison:
    ordered = sorted_rows(changed, space)
    refuse_non_finite(ordered, start, "changed outputs")
    bins = bins.to(dense.device)
    tokens = dense.shape[1]
    apart = torch.sub(ordered, dense_ordered, out=space.like("first", dense)).abs_()
    w1 = apart.sum(dim=1, dtype=torch.float64) / tokens
    squared_error = _sum_of_squares(torch.sub(changed, dense, out=apart))
    mean = dense.sum(dim=1, dtype=torch.float64) / tokens
    spread = _sum_of_squares(torch.sub(dense, mean.float()[:, None], out=apart))
    return Comparison(
        low=bins.low.cpu(),
        width=bins.width.cpu(),
        counts=count_in(ordered, bins).cpu(),
        wd=distance_to_normal(ordered, table, space).cpu(),
        w1=w1.cpu(),
        rmse=(squared_error / tokens).sqrt().cpu(),
        squared_error=squared_error.cpu(),
        dense_spread=spread.cpu(),
    )


def _sum_of_squares(rows: Tensor) -> Tensor:
    """(neurons,) float64; summed in float64, in which no square of a float32 overflows."""
    total: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).square_()
    return total
