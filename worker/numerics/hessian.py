"""The Hessian of a layer's squared output error, and the factor of its inverse that SparseGPT works with.

For inputs X (in, tokens): H = (2 / n) X X^T. It is damped by lambda = damping * mean(diag H), and U is the upper
Cholesky factor of the inverse, H^-1 = U^T U (Frantar & Alistarh 2023). U is found without the inverse: with H = R R^T,
R upper (the Cholesky factor of H with rows and columns in reverse), U = R^-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.numerics.errors import NumericsFailure

DAMPING_TRIES = 6
"""The damping asked for, then ten times as much, up to 100,000 times."""
_PANEL = 384
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
    """Upper factors U of damped inverse Hessians, H^-1 = U^T U, and what it took to find them."""

    upper: Tensor
    """(batch, in, in) float32."""
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


def gram(values: Tensor) -> Tensor:
    """X^T X of (tokens, in), by panels of columns: what lies below the diagonal is mirrored, not computed."""
    width = values.shape[1]
    matrix = torch.empty(width, width, dtype=values.dtype, device=values.device)
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


def inverse_factors(matrices: Tensor, damping: float, names: Sequence[str] = ("the layer",)) -> Factors:
    """Upper Cholesky factors of the inverses of damped Hessians.

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
    upper = torch.empty_like(matrices)
    used: list[float] = []
    step = len(matrices) if matrices.is_cuda else max(1, _CACHE_VALUES // matrices[0].numel())
    for start in range(0, len(matrices), step):
        here = slice(start, start + step)
        used += _escalate(matrices[here], alive[here], damping, names[here], upper[here])
    return Factors(upper, tuple(used), dead)


def _escalate(
    matrices: Tensor, diagonal: Tensor, damping: float, names: Sequence[str], upper: Tensor
) -> list[float]:
    """Factorise into `upper`, those that fail again with more damping; returns the dampings used."""
    scale = diagonal.mean(dim=1)
    used = [damping] * len(matrices)
    left = list(range(len(matrices)))
    share = damping
    for attempt in range(DAMPING_TRIES):
        share = damping * 10.0**attempt
        found, good = _try_factors(matrices[left], diagonal[left], share * scale[left])
        for place, fine in enumerate(good.tolist()):
            if fine:
                upper[left[place]] = found[place]
                used[left[place]] = share
        left = [matrix for matrix, fine in zip(left, good.tolist(), strict=True) if not fine]
        if not left:
            return used
    raise NumericsFailure(
        f"the Hessian of {names[left[0]]} stays singular: dampings {damping:g} to {share:g} of its mean diagonal "
        "were tried",
        hint="Calibrate on more tokens, or use magnitude pruning for this layer.",
    )


def _try_factors(matrices: Tensor, diagonal: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of matrices with `diagonal` + `added` on the diagonal, and which of them were found."""
    damped = matrices.flip(1, 2)
    damped.diagonal(dim1=1, dim2=2).copy_((diagonal + added[:, None]).flip(1))
    # The Frobenius norm bounds the largest eigenvalue from above, the damping the smallest from below.
    bound = torch.linalg.matrix_norm(damped) / added
    if damped.device.type == "mps":
        damped = damped.cpu()  # MPS has no float64
    if bool((bound > _DOUBLE_ABOVE).any()):
        damped = damped.double()
    lower, info = torch.linalg.cholesky_ex(damped)
    inverse = torch.zeros_like(lower)
    _invert_lower(lower, inverse)
    upper = inverse.flip(1, 2).to(matrices)
    good: Tensor = (info.to(matrices.device) == 0) & torch.isfinite(upper.sum(dim=2)).all(dim=1)
    return upper, good


def _invert_lower(lower: Tensor, inverse: Tensor) -> None:
    """Inverse of (batch, n, n) lower triangular matrices, into zeros, by halves: all work is matrix products.

    On the CPU 1.8 times as fast as solving for the identity, and it takes batches on any device.
    """
    size = lower.shape[-1]
    if size <= 96:
        identity = torch.eye(size, dtype=lower.dtype, device=lower.device)
        inverse.copy_(torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False))
        return
    half = size // 2
    first, second = inverse[:, :half, :half], inverse[:, half:, half:]
    _invert_lower(lower[:, :half, :half], first)
    _invert_lower(lower[:, half:, half:], second)
    inverse[:, half:, :half] = (second @ (lower[:, half:, :half] @ first)).neg_()
