"""Samples of known shapes, and slow float64 versions of the metrics that the tests trust."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import integrate
from scipy.stats import norm

from worker.numerics.mapping import PairDistances, pair_distances
from worker.numerics.reference import ScoreReference, score_reference


def shapes(size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Gaussian, skewed, bimodal, heavy-tailed, quantised and off-centre samples, float32."""
    rng = np.random.default_rng(seed)
    samples = {
        "gaussian": rng.standard_normal(size),
        "skewed": rng.exponential(size=size) - 3.0,
        "bimodal": np.where(rng.random(size) < 0.3, -4.0, 1.0) + 0.5 * rng.standard_normal(size),
        "heavy": rng.standard_t(2.1, size=size),
        "coarse": np.round(2.0 * rng.standard_normal(size)),
        "far": 3000.0 + 0.5 * rng.standard_normal(size),
        "tiny": 1e-30 * rng.standard_normal(size),
        "huge": 1e30 * rng.standard_normal(size),
    }
    return {name: sample.astype(np.float32) for name, sample in samples.items()}


def stack(size: int, seed: int = 0) -> torch.Tensor:
    """(8, size): one neuron of each shape."""
    return torch.from_numpy(np.stack(list(shapes(size, seed).values())))


def standard(sample: np.ndarray) -> np.ndarray:
    """The sorted sample in float64, less its mean, over its population standard deviation."""
    wide = np.sort(sample.astype(np.float64))
    return (wide - wide.mean()) / wide.std()


def slow_wd(sample: np.ndarray) -> float:
    """Eq. 1 piece by piece in float64: the integral of |y - Phi^-1| over each 1/n, split where y crosses."""
    y = standard(sample)
    n = len(y)
    total = 0.0
    for i, value in enumerate(y):
        cuts = [i / n, min(max(norm.cdf(value), i / n), (i + 1) / n), (i + 1) / n]
        for a, b in itertools.pairwise(cuts):
            total += abs(value * (b - a) - (norm.pdf(norm.ppf(a)) - norm.pdf(norm.ppf(b))))
    return total


def quad_wd(sample: np.ndarray) -> float:
    """The same integral by numerical quadrature in value space: integral of |F - Phi| over the line."""
    y = standard(sample)
    n = len(y)
    steps = np.concatenate([[-np.inf], y, [np.inf]])
    total = 0.0
    for i in range(n + 1):
        low, high = max(steps[i], -12.0), min(steps[i + 1], 12.0)
        if high > low:
            cross = norm.ppf(i / n)
            points = [cross] if low < cross < high else None
            total += integrate.quad(lambda x, i=i: abs(i / n - norm.cdf(x)), low, high, points=points)[0]
    return total


def slow_md(output: np.ndarray, inputs: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Eq. 2 for one neuron in float64, pair by pair."""
    change, distance = [], []
    for i, j in zip(first, second, strict=True):
        far = float(np.sqrt(np.sum((inputs[i].astype(np.float64) - inputs[j].astype(np.float64)) ** 2)))
        if far > 0:
            distance.append(far)
            change.append(abs(float(output[i]) - float(output[j])))
    n_x, n_y = max(distance), float(np.median(change))
    return float(np.mean([(c / n_y) / (d / n_x) for c, d in zip(change, distance, strict=True)]))


def setting(tokens: int, width: int = 8, pairs: int = 50_000) -> tuple[ScoreReference, PairDistances]:
    """A reference and input distances for `tokens` random inputs."""
    reference = score_reference(tokens, pairs, seed=3)
    inputs = torch.randn(tokens, width, generator=torch.Generator().manual_seed(1))
    return reference, pair_distances(inputs, reference.pairs)
