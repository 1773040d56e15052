"""What a sweep of one layer would take, before any work; and in which batches its points are made.

With `n` tokens, a layer of `in` inputs and `out` neurons, weight size `s`, and points of `k` experts (1 for SparseGPT).

Memory of the worker's process, bytes:

    what any change of one layer holds before it works (`estimate_variant`): weights, streams, the block's inputs
    + n * in * 4 * COPIES                        the layer's inputs as float32, transposed, and sorted by expert
    + KEEP_BYTES at most, k * in^2 * 4           factors of the clusters' Hessians, kept from point to point
    + at once, as many experts as fit into WORK_BYTES: 4 * (FORMS * in^2 + 3 * in * out)
    + WEIGHTS_BYTES at most, or one point's      weights of the points of a batch
    + (CHUNK_COPIES + 2) chunks of outputs       the dense ones, sorted too, and the changed ones at work
    + 2 * out * points * (4 * BINS + 24)         all counts and numbers, joined at the end and packed

Time: the block's forward pass, Hessians and factors once for each number of experts, and for each point its pass over the
weights and its comparison; the dense outputs once a batch. Rates as in `estimate_variant`,
but that comparing takes COMPARED of scoring's steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import log2

from app.catalog.estimate import (
    CHUNK_COPIES,
    FALLBACK_GFLOPS,
    INEFFICIENCY,
    OVERHEAD_BYTES,
    SORT_STEPS_PER_SECOND,
    SWAP,
)
from app.catalog.estimate_variant import (
    BINS,
    CLUSTERING,
    COMPRESSED,
    COPIES,
    EIGEN,
    FORMS,
    SWEPT_PER_SECOND,
    WORK_BYTES,
    Pace,
)
from app.schemas.expansion import ExpansionSettings
from app.schemas.model import Estimate, Projection
from app.schemas.pruning import PruningSettings
from app.schemas.run import RunModel
from app.settings import Settings

KEEP_BYTES = 1 << 30
"""Factors of clusters' Hessians that stay in memory between points; beyond it they are found again at each."""
WEIGHTS_BYTES = 1 << 28
"""Weights of points that are compared together, so that dense outputs are computed and sorted once for all of them."""
NUMBER_BYTES = 24
COMPARED = 0.5
"""Share of scoring's steps that comparing outputs with sorted dense ones takes."""

Point = PruningSettings | ExpansionSettings


def experts_of(point: Point) -> int:
    """How many weights a point has instead of one; 0 for SparseGPT on the whole layer."""
    return point.experts if isinstance(point, ExpansionSettings) else 0


def batches(points: Sequence[Point], layer_bytes: int) -> list[list[Point]]:
    """Points that are made one after the other and compared together: of one number of experts, and of weights that fit
    WEIGHTS_BYTES; at least one. layer_bytes: of the dense weights."""
    found = []
    for experts, group in groupby(points, experts_of):
        alike, size = list(group), max(1, WEIGHTS_BYTES // (max(1, experts) * layer_bytes))
        found += [alike[start : start + size] for start in range(0, len(alike), size)]
    return found


def estimate_sweep(
    model: RunModel,
    layer: Projection,
    missing: Sequence[Point],
    tokens: int,
    settings: Settings,
    pace: Pace,
) -> Estimate:
    """What the points that are missing take; all zero but the tokens when none is."""
    rate, basis = pace.gflops, pace.basis
    if rate <= 0:
        rate, basis = FALLBACK_GFLOPS, f"assumed: {FALLBACK_GFLOPS:.0f} GFLOP/s, no live worker"
    if not missing:
        return Estimate(tokens=tokens, host_bytes=0, device_bytes=0, store_bytes=0, seconds=0.0, basis=basis)
    device = _memory(model, layer, missing, tokens, settings)
    numbers = layer.out_features * len(missing)
    return Estimate(
        tokens=tokens,
        host_bytes=int(OVERHEAD_BYTES + device),
        device_bytes=int(device),
        store_bytes=int(numbers * (4 * BINS * COMPRESSED + NUMBER_BYTES)),
        seconds=round(_seconds(model, layer, missing, tokens, rate), 1),
        basis=basis,
    )


def _memory(
    model: RunModel, layer: Projection, points: Sequence[Point], tokens: int, settings: Settings
) -> float:
    width, rows, size = layer.in_features, layer.out_features, _size(model)
    most = max(1, *map(experts_of, points))
    block = _block(model)
    outside = max(0.0, model.parameters - block * model.blocks)
    held = (outside + (1 + SWAP) * block) * size + tokens * model.d_model * size * 3
    widths = {(p.in_features, p.in_features <= p.out_features) for p in model.projections}
    held += sum(tokens * width * size for width, _ in widths) + tokens * width * 4 * COPIES
    held += min(KEEP_BYTES, most * width**2 * 4)
    each = 4.0 * (FORMS * width**2 + 3 * width * rows)
    working = each * max(1, min(most, int(WORK_BYTES // each)))
    chunk = (CHUNK_COPIES + 2) * min(settings.chunk_mebibytes * 2**20, rows * tokens * 4)
    dense = width * rows * size
    weights = max(len(batch) * max(1, experts_of(batch[0])) * dense for batch in batches(points, dense))
    joined = 2 * rows * len(points) * (4 * BINS + NUMBER_BYTES)
    return held + weights + max(working, chunk) + joined


def _seconds(
    model: RunModel, layer: Projection, points: Sequence[Point], tokens: int, gflops: float
) -> float:
    width, rows = layer.in_features, layer.out_features
    weights, dense = width * rows, width * rows * _size(model)
    products, steps = 2.0 * tokens * _block(model), 0.0
    sorting = COMPARED * rows * tokens * log2(max(2, tokens)) / SORT_STEPS_PER_SECOND
    for experts in {experts_of(point) for point in points}:
        products += tokens * width**2 + max(1, experts) * float(width) ** 3
    expanding = [point for point in points if isinstance(point, ExpansionSettings)]
    if expanding:
        reduced = max(1, width // expanding[0].reduction)
        products += tokens * width**2 + EIGEN * float(width) ** 3
        products += sum(
            2.0 * CLUSTERING * tokens * reduced * k for k in {point.experts for point in expanding}
        )
    for point in points:
        experts = max(1, experts_of(point))
        products += experts * width * float(weights) + 2.0 * tokens * weights
        steps += experts * weights / SWEPT_PER_SECOND + sorting
    for _ in batches(points, dense):
        products += 2.0 * tokens * weights
        steps += sorting
    return products * INEFFICIENCY / (gflops * 1e9) + steps


def _size(model: RunModel) -> int:
    return 4 if model.dtype == "float32" else 2


def _block(model: RunModel) -> float:
    """Weights of one block: its feed-forward layers, and attention, which is at most 4 d * d."""
    ffn = sum(layer.in_features * layer.out_features for layer in model.projections)
    return ffn + 4.0 * model.d_model**2
