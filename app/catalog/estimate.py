"""What a run would take, before any work: memory, store and time, by formulas that docs/models.md repeats.

Memory of the worker's process, bytes, with `n` tokens, model width `d`, weight size `s`, batch of `b` tokens:

    OVERHEAD                                              Python, torch, transformers, allocator
    + (non-block weights + one block's weights) * s       embeddings stay, blocks come and go one at a time
    + SWAP * one block's weights * s                      the next block's weights while the last one's are let go
    + n * d * s * (EMBEDDED + 1)                          embeddings of all tokens, and the running block's inputs
    + sum over distinct inputs of widening layers  n * in * s
    + sum over narrowing layers                    n * out * 4 + 2 * pairs * in * s
    + b * wide * WIDE_COPIES * 4                          activations of one batch inside a block
    + CHUNK_COPIES * min(chunk, neurons * n * 4)          outputs of a chunk of neurons: as they are, sorted, squared

A GGUF file that is not yet in the cache is dequantised first, as a whole: 4 bytes a weight times DEQUANTISING.
Store: block inputs `n * d * s` a block; per neuron NEURON_BYTES of arrays and columns, times COMPRESSED.
Time: multiplications of the forward pass and of the recomputed outputs at the device's measured rate, times their
INEFFICIENCY, plus `log2(n)` steps a neuron and token for sorting and statistics.
"""

from __future__ import annotations

from math import log2

from app.catalog.convert import converted_folder
from app.schemas.model import Estimate, ModelInspection
from app.settings import Settings

OVERHEAD_BYTES = 700 * 2**20
SWAP = 1.0
EMBEDDED = 1
WIDE_COPIES = 6
CHUNK_COPIES = 4
DEQUANTISING = 1.5
MOST_PAIRS = 50_000
NEURON_BYTES = 256 * 4 + 257 * 4 + 2 * 48 * 4 + 20 * 8
"""Counts, quantiles, positions and values of 48 tokens, and a row of scores."""
COMPRESSED = 0.62
"""Counts and positions shrink to a third, quantiles hardly; the demo's take 1,605 bytes a neuron."""
INEFFICIENCY = 1.6
SORT_STEPS_PER_SECOND = 4.0e8
"""Of log2(n) a value: one of two cores of a common server; a GPU is faster."""
FALLBACK_GFLOPS = 50.0


def estimate(
    inspection: ModelInspection, tokens: int, window: int, settings: Settings, gflops: float, basis: str
) -> Estimate:
    """Memory, store size and time of a run of `tokens` in windows of `window`, at `gflops` 1e9 operations a second.

    With `gflops` 0 the time is for FALLBACK_GFLOPS, and `basis` says so.
    """
    if gflops <= 0:
        gflops, basis = FALLBACK_GFLOPS, basis or f"assumed: {FALLBACK_GFLOPS:.0f} GFLOP/s, no live worker"
    host, device = _memory(inspection, tokens, max(window, settings.batch_tokens), settings)
    size = _weight_bytes(inspection)
    arrays = inspection.neurons * NEURON_BYTES * COMPRESSED
    return Estimate(
        tokens=tokens,
        host_bytes=int(host),
        device_bytes=int(device),
        store_bytes=int(inspection.blocks * tokens * inspection.d_model * size + arrays),
        seconds=round(_seconds(inspection, tokens, gflops), 1),
        basis=basis,
    )


def _weight_bytes(inspection: ModelInspection) -> int:
    return 4 if inspection.dtype == "float32" else 2


def _memory(inspection: ModelInspection, tokens: int, batch: int, settings: Settings) -> tuple[float, float]:
    """Bytes of the worker's process on CPU, which holds everything, and of a device, which spares the overhead."""
    size, width = _weight_bytes(inspection), inspection.d_model
    block = _block_parameters(inspection)
    outside = max(0, inspection.parameters - block * inspection.blocks)
    weights = (outside + (1 + SWAP) * block) * size
    streams = tokens * width * size * (EMBEDDED + 1) + _kept(inspection, tokens, size)
    widest = max(max(p.in_features, p.out_features) for p in inspection.projections)
    activations = min(batch, tokens) * widest * WIDE_COPIES * 4
    most = max(p.out_features for p in inspection.projections) * tokens * 4
    chunk = min(settings.chunk_mebibytes * 2**20, most)
    device = weights + streams + activations + CHUNK_COPIES * chunk
    host = OVERHEAD_BYTES + device
    fresh = inspection.fingerprint.startswith("gguf-")
    if fresh and not converted_folder(settings, inspection.fingerprint).is_dir():
        host = max(host, OVERHEAD_BYTES + inspection.parameters * 4 * DEQUANTISING)
    return host, device


def _kept(inspection: ModelInspection, tokens: int, size: int) -> float:
    """The narrower side of every linear layer; layers that widen from the same width share theirs."""
    widening = {p.in_features for p in inspection.projections if p.in_features <= p.out_features}
    pairs = min(MOST_PAIRS, tokens // 2)
    narrowing = sum(
        tokens * p.out_features * 4 + 2 * pairs * p.in_features * size
        for p in inspection.projections
        if p.in_features > p.out_features
    )
    return sum(tokens * width * size for width in widening) + narrowing


def _block_parameters(inspection: ModelInspection) -> float:
    """Weights of one block: its feed-forward layers, and attention, which is at most 4 d * d."""
    ffn = inspection.ffn_parameters / inspection.blocks
    outside = 2 * inspection.vocabulary * inspection.d_model
    rest = max(0.0, inspection.parameters - outside - inspection.ffn_parameters) / inspection.blocks
    return ffn + min(rest, 4.0 * inspection.d_model**2)


def _seconds(inspection: ModelInspection, tokens: int, gflops: float) -> float:
    block = _block_parameters(inspection)
    again = inspection.ffn_parameters / inspection.blocks
    products = 2.0 * tokens * (block + again) * inspection.blocks
    sorting = inspection.neurons * tokens * log2(max(2, tokens))
    return products * INEFFICIENCY / (gflops * 1e9) + sorting / SORT_STEPS_PER_SECOND
