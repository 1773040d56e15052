"""What to prune, and what came of it: the words shared by all pruners."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from worker.numerics.errors import NumericsFailure

Method = Literal["magnitude", "wanda", "sparsegpt"]


@dataclass(frozen=True)
class PruneSpec:
    """One layer's pruning. Raises NumericsFailure for values out of range.

    N:M means `zeros` zeros in each `group` consecutive weights of a row; `sparsity` is then zeros / group and is not
    looked at.
    """

    method: Method = "sparsegpt"
    sparsity: float = 0.5
    """Share of weights set to 0, from 0 to 1; met to one weight of a layer."""
    zeros: int | None = None
    group: int | None = None
    per_row: bool = False
    """SparseGPT and magnitude: the same number of zeros in every row. Otherwise SparseGPT chooses over all rows of a
    block of columns, magnitude over the whole layer. Wanda always chooses per row."""
    block: int = 128
    """SparseGPT: columns whose mask is chosen together."""
    damping: float = 0.01
    """SparseGPT: share of the Hessian's mean diagonal that is added to it."""
    bits: int | None = None
    """Round the weights that stay to a grid of 2^bits values a row (2 to 8)."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.sparsity <= 1.0:
            raise NumericsFailure(f"sparsity is {self.sparsity:g}", hint="Give a share from 0 to 1.")
        if self.bits is not None and not 2 <= self.bits <= 8:
            raise NumericsFailure(f"{self.bits} bits were asked for", hint="Weights take 2 to 8 bits.")
        if self.block < 1:
            raise NumericsFailure(f"the block has {self.block} columns", hint="128 is usual.")
        if not 0.0 < self.damping <= 1.0 or not math.isfinite(self.damping):
            raise NumericsFailure(f"damping is {self.damping:g}", hint="Give a share above 0, at most 1.")
        if (self.zeros is None) != (self.group is None):
            raise NumericsFailure("N:M needs both numbers", hint="2:4 is zeros=2, group=4.")
        if self.zeros is not None and self.group is not None and not 0 <= self.zeros <= self.group > 0:
            raise NumericsFailure(
                f"{self.zeros}:{self.group} is no pattern",
                hint="N zeros in each M weights, N at most M: 2:4.",
            )

    @property
    def target(self) -> float:
        """Share of zeros asked for, by sparsity or by N:M."""
        if self.zeros is not None and self.group is not None:
            return self.zeros / self.group
        return self.sparsity

    def check_width(self, width: int) -> None:
        """Refuse N:M on rows of `width` weights that M does not divide, naming the nearest that does."""
        if self.group is None or width % self.group == 0:
            return
        fitting = [group for group in range(1, width + 1) if width % group == 0]
        nearest = min(fitting, key=lambda group: (abs(group - (self.group or 0)), group))
        raise NumericsFailure(
            f"rows of {width} weights do not fall into groups of {self.group}",
            hint=f"The nearest group that divides {width} is {nearest}.",
        )


@dataclass(frozen=True)
class Pruned:
    """A pruned layer."""

    weight: Tensor
    """(out, in), the input's dtype."""
    kept: Tensor
    """(out, in) bool: weights that were not pruned (one may still be 0, by rounding or from the start)."""
    row_error: Tensor
    """(out,) float32: mean over the calibration tokens of the neuron's squared output error."""
    damping: float | None = None
    """SparseGPT: the damping used; more than asked for if the Hessian was singular."""
    dead: int = 0
    """Inputs that are 0 for every token; SparseGPT sets their weights to 0."""

    @property
    def sparsity(self) -> float:
        """Share of zeros, counted in the weight itself."""
        return zero_share(self.weight)


def zero_share(weight: Tensor) -> float:
    """Share of exact zeros in a tensor."""
    return float((weight == 0).sum()) / max(weight.numel(), 1)


def row_error(original: Tensor, changed: Tensor, hessian: Tensor) -> Tensor:
    """Mean squared output error of each row, d H d^T / 2 with d = changed - original; (out,) float32."""
    difference = changed.float() - original.float()
    return ((difference @ hessian) * difference).sum(dim=1).mul_(0.5).clamp_min_(0.0)


def check_layer(weight: Tensor, hessian: Tensor) -> None:
    """Refuse weights that are not finite or do not fit the Hessian."""
    if weight.ndim != 2 or hessian.shape != (weight.shape[1], weight.shape[1]):
        raise NumericsFailure(
            f"a weight of shape {tuple(weight.shape)} does not fit a Hessian of shape {tuple(hessian.shape)}"
        )
    finite = torch.isfinite(weight).all(dim=1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0, 0])
        raise NumericsFailure(
            f"the weights of neuron {first} hold NaN or infinity", hint="Check the model's files."
        )
