"""What all neurons of a run share: pairs, random tokens, the normal's quantiles, and the Gaussian floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.numerics.errors import NumericsFailure
from worker.numerics.mapping import TokenPairs, random_pairs
from worker.numerics.moments import standardise
from worker.numerics.sorting import sorted_rows
from worker.numerics.tokens import random_positions
from worker.numerics.wasserstein import NormalTable, normal_table, wasserstein_to_normal

_FLOOR_VALUES = 1 << 22
_FLOOR_SAMPLES = 512


@dataclass(frozen=True)
class ScoreReference:
    """Made once per run from its number of tokens, pairs and seed; the same on every device."""

    tokens: int
    seed: int
    pairs: TokenPairs
    random_tokens: Tensor
    """(16,) int64 positions, ascending; -1 where the run has fewer tokens."""
    table: NormalTable
    gaussian_floor: float
    """Mean WD of true Gaussian samples of as many tokens."""


def score_reference(tokens: int, pairs: int, seed: int) -> ScoreReference:
    """The reference of a run of `tokens` >= 2 tokens; at most tokens // 2 disjoint pairs are used."""
    if tokens < 2 or pairs < 1:
        raise NumericsFailure(
            f"{tokens} tokens and {pairs} pairs were given; at least 2 tokens and 1 pair are needed",
            hint="Score more tokens.",
        )
    return ScoreReference(
        tokens=tokens,
        seed=seed,
        pairs=random_pairs(tokens, pairs, seed),
        random_tokens=random_positions(tokens, seed),
        table=normal_table(tokens),
        gaussian_floor=gaussian_floor(tokens),
    )


def gaussian_floor(size: int) -> float:
    """Mean WD of standardised samples of `size` true Gaussian values: what a perfectly Gaussian neuron would show.

    Monte Carlo with a fixed seed over 32 to 512 samples, at least four million values where that allows it: within
    about 5 % at 131,072 values, 1 % at 8,192.
    """
    samples = min(_FLOOR_SAMPLES, max(32, _FLOOR_VALUES // size))
    generator = np.random.Generator(np.random.PCG64([size, 2]))
    draws = torch.from_numpy(generator.standard_normal((samples, size), dtype=np.float32))
    _, standardised = standardise(sorted_rows(draws))
    return float(wasserstein_to_normal(standardised, normal_table(size)).mean())
