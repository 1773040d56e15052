"""What an evaluation would take, before any work: memory, store and time, by formulas.

With `n` tokens, model width `d`, weight size `s`, `m` models (the dense one and each variant), and for a variant `k` experts
(1 when pruned), bytes of the worker's process:

    OVERHEAD + (non-block weights + (1 + SWAP) * one block's weights) * s
    + m * n * d * s * 2                      every model's hidden states, and a block's output beside its input
    + the most experts' k * ffn * s          one variant's weights of a block
    + LOGITS_BYTES                           logits are taken in slices

Store: a few numbers a model. Time: at most (a variant is the dense model up to its first changed block) `2 * n` operations a
weight for every block and the head of each model, which is at most all weights outside the blocks (a token goes to one
expert), at the device's measured rate, times INEFFICIENCY; and each variant's weights are unpacked once.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.catalog.estimate import FALLBACK_GFLOPS, INEFFICIENCY, OVERHEAD_BYTES, SWAP
from app.catalog.estimate_variant import Pace
from app.schemas.expansion import ExpansionSettings
from app.schemas.model import Estimate
from app.schemas.pruning import PruningSettings
from app.schemas.run import RunModel

LOGITS_BYTES = 256 * 2**20
RESULT_BYTES = 400
UNPACKED_PER_SECOND = 2.0e8
"""Weights of a variant read from the store and put in their places: one core of a common server."""


def estimate_evaluation(
    model: RunModel,
    variants: Sequence[PruningSettings | ExpansionSettings],
    tokens: int,
    pace: Pace,
) -> Estimate:
    """What the perplexity of the dense model and of `variants` takes, on `tokens` tokens."""
    rate, basis = pace.gflops, pace.basis
    if rate <= 0:
        rate, basis = FALLBACK_GFLOPS, f"assumed: {FALLBACK_GFLOPS:.0f} GFLOP/s, no live worker"
    size = 4 if model.dtype == "float32" else 2
    ffn = sum(layer.in_features * layer.out_features for layer in model.projections)
    block = ffn + 4.0 * model.d_model**2
    outside = max(0.0, model.parameters - block * model.blocks)
    experts = [made.experts if isinstance(made, ExpansionSettings) else 1 for made in variants]
    models = 1 + len(variants)
    device = (
        (outside + (1 + SWAP) * block + max(experts, default=0) * ffn) * size
        + 2 * models * tokens * model.d_model * size
        + LOGITS_BYTES
    )
    products = 2.0 * tokens * models * (block * model.blocks + outside)
    unpacked = sum(experts) * ffn * model.blocks
    return Estimate(
        tokens=tokens,
        host_bytes=int(OVERHEAD_BYTES + device),
        device_bytes=int(device),
        store_bytes=models * RESULT_BYTES,
        seconds=round(products * INEFFICIENCY / (rate * 1e9) + unpacked / UNPACKED_PER_SECOND, 1),
        basis=basis,
    )
