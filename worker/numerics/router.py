"""Which expert a token goes to: PCA, then the nearest of k centroids (Sparse Expansion, arXiv 2405.15756)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from worker.numerics.errors import NumericsFailure
from worker.numerics.hessian import gram

_CHUNK_VALUES = 1 << 24


class Router(Protocol):
    """Anything that says which of its experts each token goes to."""

    @property
    def experts(self) -> int:
        """How many experts there are."""

    def assign(self, inputs: Tensor) -> Tensor:
        """Expert of each of (tokens, in) inputs; (tokens,) int64."""


@dataclass(frozen=True)
class CentroidRouter:
    """The paper's router."""

    mean: Tensor
    """(in,) float32: of the calibration inputs."""
    components: Tensor
    """(components, in) float32: principal directions."""
    centroids: Tensor
    """(experts, components) float32."""

    @property
    def experts(self) -> int:
        """How many experts there are."""
        return int(self.centroids.shape[0])

    def assign(self, inputs: Tensor) -> Tensor:
        """Nearest centroid of each of (tokens, in) inputs, any float dtype; the first among equals."""
        mean, components = self.mean.to(inputs.device), self.components.to(inputs.device)
        centroids = self.centroids.to(inputs.device)
        squares = centroids.square().sum(dim=1)
        step = max(1, _CHUNK_VALUES // inputs.shape[1])
        labels = []
        for start in range(0, len(inputs), step):
            reduced = inputs[start : start + step].float() @ components.T - mean @ components.T
            labels.append((squares - 2.0 * (reduced @ centroids.T)).argmin(dim=1))
        return torch.cat(labels) if labels else torch.empty(0, dtype=torch.int64, device=inputs.device)


@dataclass(frozen=True)
class RandomRouter:
    """Control: experts drawn at random with given shares, by a hash of the token's own values.

    The same input always goes to the same expert, but similar inputs to unrelated ones.
    """

    shares: Tensor
    """(experts,) float64, summing to 1."""
    seed: int

    @property
    def experts(self) -> int:
        """How many experts there are."""
        return int(self.shares.numel())

    def assign(self, inputs: Tensor) -> Tensor:
        """Expert of each of (tokens, in) inputs; (tokens,) int64."""
        # On the CPU: MPS has no float64, and eight values a token are soon copied.
        bits = inputs[:, :8].float().cpu().contiguous().view(torch.int32).long() & 0xFFFFFFFF
        mixed = torch.full((len(inputs),), self.seed & 0xFFFFFFFF, dtype=torch.int64)
        for column in range(bits.shape[1]):
            mixed = _mix(mixed ^ bits[:, column])
        draw = mixed.double() / 2.0**32
        edges = self.shares.cpu().cumsum(0)[:-1]
        return torch.searchsorted(edges, draw, right=True).to(inputs.device)


def _mix(values: Tensor) -> Tensor:
    """A 32-bit integer hash (Murmur3's finaliser) of int64 values below 2^32."""
    values = ((values ^ (values >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    values = ((values ^ (values >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return values ^ (values >> 16)


def fit_router(
    inputs: Tensor,
    experts: int = 16,
    reduction: int = 32,
    seed: int = 0,
    principal: tuple[Tensor, Tensor] | None = None,
) -> CentroidRouter:
    """PCA of (tokens, in) inputs to in // reduction components (at least 1), then k-means into `experts` clusters.

    principal: mean and components of an earlier router of the same inputs and reduction, so that PCA is done once for
    several numbers of experts.
    Raises NumericsFailure when there are more experts than tokens, `reduction` exceeds the width, or inputs are not
    finite. Fewer distinct inputs than experts leave some experts without tokens.
    """
    tokens, width = inputs.shape
    if not 1 <= experts <= tokens:
        raise NumericsFailure(
            f"{experts} experts were asked for and there are {tokens} tokens",
            hint="Give at least 1 expert, and fewer experts or more tokens.",
        )
    if not 1 <= reduction <= width:
        raise NumericsFailure(
            f"a reduction by {reduction} of inputs {width} wide leaves nothing",
            hint=f"Give a reduction from 1 to {width}; 32 is usual.",
        )
    values = inputs.detach().float()
    if not bool(torch.isfinite(values.sum())):
        for token in (~torch.isfinite(values).all(dim=1)).nonzero()[:1, 0].tolist():
            raise NumericsFailure(
                f"the inputs of token {token} hold NaN or infinity", hint="Check the model's weights."
            )
    # Here, because it takes a second to import and no job but an expansion needs it.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if principal is None:
        principal = principal_components(values, min(max(1, width // reduction), tokens))
    mean, components = (part.to(values.device) for part in principal)
    reduced = values @ components.T - mean @ components.T
    with warnings.catch_warnings():
        # Too few distinct inputs: seen in the cluster sizes.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means = KMeans(n_clusters=experts, n_init=1, random_state=seed).fit(reduced.cpu().numpy())
    centroids = torch.from_numpy(np.asarray(means.cluster_centers_, dtype=np.float32))
    return CentroidRouter(mean.cpu(), components.cpu(), centroids)


def principal_components(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean (in,) and the first principal directions (count, in) of (tokens, in) float32 values, by falling variance.

    From the covariance's eigenvectors, as scikit-learn's PCA finds them when there are more tokens than inputs, but only
    those wanted; the largest element of each is positive. Raises NumericsFailure when a square overflows.
    """
    tokens, width = values.shape
    mean = values.mean(dim=0)
    covariance = gram(values).addr_(mean, mean, alpha=-tokens).div_(max(1, tokens - 1))
    if not bool(torch.isfinite(covariance.sum(dim=1)).all()):
        raise NumericsFailure("the inputs are too large for float32", hint="Check the model's weights.")
    wanted = (width - count, width - 1)
    _, vectors = eigh(covariance.cpu().numpy(), subset_by_index=wanted, overwrite_a=True, check_finite=False)
    components = torch.from_numpy(vectors.T.copy()).flip(0)
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    return mean, (components * largest.sign()).to(values.device)
