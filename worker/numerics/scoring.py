"""All scores of a layer's neurons from their outputs, each chunk of neurons sorted once.

The sorted rows give WD, the moments, entropy, histogram and quantiles; the unsorted ones MD and the tokens.
Neurons are taken a few at a time so that a chunk stays in the processor's cache; how many changes nothing but the
last bits of sums.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from worker.numerics.entropy import vasicek_entropy
from worker.numerics.errors import NumericsFailure
from worker.numerics.histogram import histogram, quantiles
from worker.numerics.mapping import PairDistances, mapping_difficulty
from worker.numerics.moments import is_constant, standardise
from worker.numerics.reference import ScoreReference
from worker.numerics.sorting import refuse_non_finite, sorted_rows
from worker.numerics.tokens import highest, lowest, values_at
from worker.numerics.wasserstein import wasserstein_to_normal
from worker.numerics.workspace import Workspace

_CHUNK_VALUES = {"cpu": 1 << 19, "cuda": 1 << 26}
"""Outputs scored together: on the CPU 2 MiB of float32, for the cache; on a GPU 256 MiB, for its many cores."""


@dataclass(frozen=True)
class NeuronScores:
    """Scores of (neurons,) neurons, on the CPU. NaN stands only in wd, md, skew, kurtosis and entropy of constant
    neurons, and in md where all pairs have identical inputs."""

    wd: Tensor
    """(neurons,) float64: W1 between the standardised output and N(0, 1)."""
    md: Tensor
    """(neurons,) float64: mapping difficulty."""
    mean: Tensor
    """(neurons,) float64."""
    std: Tensor
    """(neurons,) float64, population."""
    skew: Tensor
    """(neurons,) float64."""
    kurtosis: Tensor
    """(neurons,) float64, excess."""
    entropy: Tensor
    """(neurons,) float64, nats, of the standardised output."""
    constant: Tensor
    """(neurons,) bool: the output's range is below float32's resolution of its size."""
    low: Tensor
    """(neurons,) float32: smallest output."""
    high: Tensor
    """(neurons,) float32: largest output."""
    counts: Tensor
    """(neurons, 256) int32: tokens in equally wide bins from `low` to `high`."""
    quantiles: Tensor
    """(neurons, 257) float32: at 0, 1/256, ..., 1."""
    token_positions: Tensor
    """(neurons, 3, 16) int32: of the highest, lowest and random tokens; -1 where there are fewer tokens."""
    token_values: Tensor
    """(neurons, 3, 16) float32: the outputs there; 0 where the position is -1."""


def score_outputs(outputs: Tensor, reference: ScoreReference, inputs: PairDistances) -> NeuronScores:
    """Score every row of (neurons, tokens) outputs of one linear layer; the argument is not changed.

    outputs: any float dtype, scored as float32, on any device. reference: of the run. inputs: distances of the pairs
    of the layer's inputs, from `pair_distances(x, reference.pairs)`.
    Raises NumericsFailure on NaN or infinity, naming the first such neuron, and when the tokens do not fit.
    """
    if outputs.ndim != 2 or outputs.shape[1] != reference.tokens:
        raise NumericsFailure(
            f"outputs have shape {tuple(outputs.shape)}; (neurons, {reference.tokens}) was expected"
        )
    values = outputs.detach()
    if values.device.type not in _CHUNK_VALUES:
        values = values.cpu()  # MPS has no float64, and shares its memory with the CPU
    rows = max(1, _CHUNK_VALUES[values.device.type] // reference.tokens)
    space = Workspace()
    parts = [
        _score_chunk(values[start : start + rows].float(), reference, inputs, start, space)
        for start in range(0, len(values), rows)
    ]
    return NeuronScores(
        *(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(NeuronScores))
    )


def _score_chunk(
    outputs: Tensor, reference: ScoreReference, inputs: PairDistances, start: int, space: Workspace
) -> NeuronScores:
    ordered = sorted_rows(outputs, space)
    low, high = ordered[:, 0], ordered[:, -1]
    refuse_non_finite(ordered, start)
    shape, standardised = standardise(ordered, space)
    constant = is_constant(low, high)
    device = outputs.device
    positions = torch.stack(
        [
            highest(outputs, ordered),
            lowest(outputs, ordered),
            reference.random_tokens.to(device).expand(len(outputs), -1),
        ],
        dim=1,
    )
    scores = {
        "wd": wasserstein_to_normal(standardised, reference.table.to(device), space),
        "md": mapping_difficulty(outputs, inputs, space),
        "skew": shape.skew,
        "kurtosis": shape.kurtosis,
        "entropy": vasicek_entropy(standardised, space),
    }
    return NeuronScores(
        **{name: torch.where(constant, torch.nan, value).cpu() for name, value in scores.items()},
        mean=shape.mean.cpu(),
        std=shape.std.cpu(),
        constant=constant.cpu(),
        low=low.cpu().clone(),
        high=high.cpu().clone(),
        counts=histogram(ordered).cpu(),
        quantiles=quantiles(ordered).cpu(),
        token_positions=positions.to(torch.int32).cpu(),
        token_values=values_at(outputs, positions.flatten(1)).view_as(positions).cpu(),
    )
