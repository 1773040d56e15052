"""SparseGPT as published, column by column in float64: the truth of the fast one's tests."""

from __future__ import annotations

import numpy as np
import torch

from worker.numerics.hessian import Hessian, hessian


def layer(
    rows: int = 40, width: int = 48, tokens: int = 600, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random weight and correlated inputs of very different sizes, as in real layers."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, width, generator=generator)
    mix = torch.randn(width, width, generator=generator) / width**0.5
    sizes = torch.exp(torch.randn(width, generator=generator))
    inputs = (torch.randn(tokens, width, generator=generator) @ mix + 0.3) * sizes
    return weight, inputs


def layer_hessian(inputs: torch.Tensor) -> Hessian:
    return hessian(inputs)


def slow_factor(matrix: np.ndarray, damping: float) -> np.ndarray:
    """Upper U with inverse(H + lambda I) = U^T U."""
    wide = matrix.astype(np.float64)
    dead = np.diag(wide) == 0
    wide[dead, dead] = 1.0
    wide += damping * np.mean(np.diag(wide)) * np.eye(len(wide))
    return np.linalg.cholesky(np.linalg.inv(wide)).T


def slow_sparsegpt(
    weight: np.ndarray,
    matrix: np.ndarray,
    sparsity: float = 0.5,
    pattern: tuple[int, int] | None = None,
    block: int = 128,
    damping: float = 0.01,
    bits: int | None = None,
    per_row: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Pruned weight and mask of what stays."""
    W = weight.astype(np.float64)
    rows, width = W.shape
    U = slow_factor(matrix, damping)
    low, high = np.minimum(W.min(axis=1), 0), np.maximum(W.max(axis=1), 0)
    W[:, np.diag(matrix) == 0] = 0
    kept = np.ones(W.shape, dtype=bool)
    for start in range(0, width, block):
        stop = min(start + block, width)
        if pattern is None:
            score = W[:, start:stop] ** 2 / np.diag(U)[start:stop] ** 2
            if per_row:
                count = round(stop * sparsity) - round(start * sparsity)
                for row in range(rows):
                    kept[row, start + np.argsort(score[row], kind="stable")[:count]] = False
            else:
                count = round(stop * rows * sparsity) - round(start * rows * sparsity)
                gone = np.argsort(score, axis=None, kind="stable")[:count]
                kept[gone // (stop - start), start + gone % (stop - start)] = False
        errors = np.zeros((rows, stop - start))
        for j in range(start, stop):
            if pattern is not None and j % pattern[1] == 0:
                group = slice(j, j + pattern[1])
                score = W[:, group] ** 2 / np.diag(U)[group] ** 2
                for row in range(rows):
                    kept[row, j + np.argsort(score[row], kind="stable")[: pattern[0]]] = False
            value = W[:, j] * kept[:, j]
            if bits is not None:
                scale = (high - low) / (2**bits - 1)
                zero = np.round(-low / scale)
                value = (np.clip(np.round(value / scale) + zero, 0, 2**bits - 1) - zero) * scale
            errors[:, j - start] = (W[:, j] - value) / U[j, j]
            W[:, j:stop] -= np.outer(errors[:, j - start], U[j, j:stop])
            W[:, j] = value
        W[:, stop:] -= errors @ U[start:stop, stop:]
    return W * kept, kept


def output_error(original: np.ndarray, changed: np.ndarray, inputs: torch.Tensor) -> float:
    """Mean squared output error over tokens and neurons, in float64."""
    difference = (changed.astype(np.float64) - original.astype(np.float64)) @ inputs.double().numpy().T
    return float(np.mean(difference**2))
