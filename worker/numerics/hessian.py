"""The Hessian of a layer's squared output error, and the factor of it that SparseGPT works with.

For inputs X (in, tokens): H = (2 / n) X X^T. It is damped by lambda = damping * mean(diag H) and factorised as
H = L^T L, L lower: the Cholesky factor of H with rows and columns in reverse. The published algorithm (Frantar &
Alistarh 2023) works with the upper Cholesky factor U of the inverse, H^-1 = U^T U; U^T is the inverse of L, and neither
it nor H^-1 is ever computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.numerics.errors import NumericsFailure

DAMPING_TRIES = 6
"""The damping asked for, then ten times as much, up to 100,000 times."""
_PANEL = 192
_CACHE_VALUES = 1 << 22
"""Values of Hessians factorised together on the CPU: 16 MiB of float32."""
_DOUBLE_ABOVE = 1e5
"""Bound of the condition number above which the factorisation runs in float64."""


@dataclass(frozen=True)
class Hessian:
    """H = (2 / tokens) X X^T of `tokens` calibration tokens."""

    matrix: Tensor
    """(in, in) float32."""
    tokens: int

    @property
    def input_norms(self) -> Tensor:
        """(in,) Euclidean norm of each input over the tokens, as Wanda uses it."""
        return (self.matrix.diagonal() * (self.tokens / 2.0)).clamp_min(0.0).sqrt()


@dataclass(frozen=True)
class Factors:
    """Factors L of damped Hessians, H = L^T L, and what it took to find them."""

    lower: Tensor
    """(batch, in, in) float32, zero above the diagonal."""
    damping: tuple[float, ...]
    """The damping used for each, relative to the mean of the diagonal."""
    dead: Tensor
    """(batch, in) bool: inputs that are always 0."""


def hessian(inputs: Tensor) -> Hessian:
    """H of (tokens, in) inputs in any float dtype, accumulated in float32.

    Raises NumericsFailure when it is not finite.
    """
    return add_inputs(None, inputs)


def add_inputs(running: Hessian | None, inputs: Tensor) -> Hessian:
    """H of the tokens seen so far and (tokens, in) more: for inputs that come in batches."""
    tokens = inputs.shape[0]
    matrix = gram(inputs.detach().float())
    matrix *= 2.0 / max(tokens, 1)
    if not bool(torch.isfinite(matrix.diagonal()).all()):
        first = int((~torch.isfinite(matrix.diagonal())).nonzero()[0, 0])
        raise NumericsFailure(
            f"input {first} of the layer is NaN, infinite or too large for float32",
            hint="Check the model's weights; 16-bit models can overflow: try bfloat16 or float32.",
        )
    return Hessian(matrix, tokens) if running is None else merge(running, Hessian(matrix, tokens))


def gram(values: Tensor, out: Tensor | None = None) -> Tensor:
    """X^T X of (tokens, in), by panels of columns: what lies below the diagonal is mirrored, not computed."""
    width = values.shape[1]
    matrix = torch.empty(width, width, dtype=values.dtype, device=values.device) if out is None else out
    for start in range(0, width, _PANEL):
        stop = min(start + _PANEL, width)
        torch.mm(values[:, start:stop].T, values[:, start:], out=matrix[start:stop, start:])
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
    return matrix


def merge(one: Hessian, other: Hessian) -> Hessian:
    """H of the tokens of both."""
    tokens = one.tokens + other.tokens
    share = other.tokens / max(tokens, 1)
    return Hessian(torch.lerp(one.matrix, other.matrix, share), tokens)


def factorise(matrices: Tensor, damping: float, names: Sequence[str] = ("the layer",)) -> Factors:
    """Factors of damped Hessians.

    matrices: (batch, in, in) float32. damping: share of the diagonal's mean that is added to it. names: one for each
    matrix, for messages. A matrix that cannot be factorised is tried again with ten times the damping, at most
    DAMPING_TRIES times in all; NumericsFailure then, and at once for NaN or infinity.
    """
    finite = torch.isfinite(matrices.sum(dim=2)).all(dim=1)
    if not bool(finite.all()):
        name = names[int((~finite).nonzero()[0, 0])]
        raise NumericsFailure(
            f"the Hessian of {name} holds NaN or infinity",
            hint="Check the layer's inputs and the model's weights.",
        )
    diagonal = matrices.diagonal(dim1=1, dim2=2)
    dead = diagonal == 0
    alive = torch.where(dead, 1.0, diagonal)
    lower = torch.empty_like(matrices)
    used: list[float] = []
    step = len(matrices) if matrices.is_cuda else max(1, _CACHE_VALUES // matrices[0].numel())
    for start in range(0, len(matrices), step):
        here = slice(start, start + step)
        used += _escalate(matrices[here], alive[here], damping, names[here], lower[here])
    return Factors(lower, tuple(used), dead)


def _escalate(
    matrices: Tensor, diagonal: Tensor, damping: float, names: Sequence[str], lower: Tensor
) -> list[float]:
    """Factorise into `lower`, those that fail again with more damping; returns the dampings used."""
    scale = diagonal.mean(dim=1)
    used = [damping] * len(matrices)
    good = _try_factors(matrices, diagonal, damping * scale, lower)
    for place in (~good).nonzero()[:, 0].tolist():
        one = slice(place, place + 1)
        for attempt in range(1, DAMPING_TRIES):
            used[place] = damping * 10.0**attempt
            if _try_factors(matrices[one], diagonal[one], used[place] * scale[one], lower[one])[0]:
                break
        else:
            raise NumericsFailure(
                f"the Hessian of {names[place]} stays singular: dampings {damping:g} to {used[place]:g} of its mean "
                "diagonal were tried",
                hint="Calibrate on more tokens, or use magnitude pruning for this layer.",
            )
    return used


def _try_factors(matrices: Tensor, diagonal: Tensor, added: Tensor, lower: Tensor) -> Tensor:
    """Factors, into `lower`, of matrices with `diagonal` + `added` on the diagonal; (batch,) bool which were found."""
    damped = matrices.flip(1, 2)
    damped.diagonal(dim1=1, dim2=2).copy_((diagonal + added[:, None]).flip(1))
    # The Frobenius norm bounds the largest eigenvalue from above, the damping the smallest from below.
    bound = torch.linalg.vector_norm(damped.flatten(1), dim=1) / added
    if damped.device.type == "mps":
        damped = damped.cpu()  # MPS has no float64
    if bool((bound > _DOUBLE_ABOVE).any()):
        damped = damped.double()
    # Symmetric, so its transpose may be given: LAPACK's order of memory, in which nothing is rearranged.
    factors, info = torch.linalg.cholesky_ex(damped.mT)
    lower.copy_(factors.mT.flip(1, 2))
    ends = lower.sum(dim=2)
    good: Tensor = (info.to(matrices.device) == 0) & torch.isfinite(ends).all(dim=1)
    return good
