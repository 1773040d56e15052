"""What pruning or expanding layers would take, before any work: memory, store and time, by formulas.

With `n` tokens, model width `d`, weight size `s`, and for a layer `in` inputs, `out` neurons, `k` experts (1 when
pruned). Layers of one block that get the same inputs are a group: they share inputs, Hessians and router.

Memory of a worker's process, bytes; one block at a time, its groups one after the other:

    OVERHEAD + (non-block weights + (1 + SWAP) * one block's weights) * s
    + n * d * s * STREAMS                                the embedded tokens, the block's input and output
    + sum over the block's groups  n * in * s            inputs of its layers for all tokens; twice when propagated:
                                                         those of the dense and of the changed model
    + the largest group's  n * in * 4 * COPIES           as float32, transposed; sorted by expert
    + its working memory: at once, as many experts as fit into WORK_BYTES, at least one, of
                       4 * (FORMS * in^2 + 2 * in * out) Hessians in FORMS forms; weights, movements and masks
    + its new weights                                    k * in * out * s
    + its CHUNK_COPIES chunks of outputs                 when compared

Store, bytes a layer: weights packed as a bit a weight and the values that stay, `k * in * out * (1/8 + kept * s)`, and when
compared `out * BINS * 4` counts, for expansions `1 + k` times, COMPRESSED, with a row of numbers a neuron.

Time of a block: `2 * n` operations a weight for each forward pass (one; propagated, another of the changed block, and one
of the dense model's inputs when compared); a group's Hessians `n * in^2`, over all experts; a
pruned layer's error `2 * in^2 * out`; with SparseGPT a layer's factors `in^3` an expert and its sweep `in^2 * out` an
expert; a router's PCA `n * in^2 + EIGEN * in^3` and CLUSTERING rounds of `2 * n * in / reduction * k`; outputs
`4 * n * in * out` when compared. All at the device's measured rate, times INEFFICIENCY. What is no product of matrices goes
by steps: a sweep passes each weight of each expert once, a comparison takes `log2(n)` a neuron and token, for expansions
twice. Blocks that do not wait for each other are shared by the live workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2

from app.catalog.estimate import (
    CHUNK_COPIES,
    FALLBACK_GFLOPS,
    INEFFICIENCY,
    OVERHEAD_BYTES,
    SORT_STEPS_PER_SECOND,
    SWAP,
)
from app.schemas.expansion import ExpansionSettings
from app.schemas.model import Estimate, Projection
from app.schemas.pruning import Method, PruningSettings
from app.schemas.run import RunModel
from app.settings import Settings

STREAMS = 3
COPIES = 2
FORMS = 3
WORK_BYTES = 2 * 2**30
BINS = 192
COMPRESSED = 0.3
NEURON_BYTES = 9 * 8
SWEPT_PER_SECOND = 8.0e7
"""Weights that SparseGPT's loop over columns passes: one core of a common server; a GPU is faster."""
EIGEN = 10
CLUSTERING = 30


@dataclass(frozen=True)
class Pace:
    """How fast the live workers are."""

    gflops: float
    """Of the fastest, 1e9 operations a second; 0 when none is known."""
    device: str
    workers: int

    @property
    def basis(self) -> str:
        """In words; empty when nothing was measured."""
        return f"measured: {self.gflops:.0f} GFLOP/s on {self.device}" if self.gflops > 0 else ""


@dataclass(frozen=True)
class _Group:
    """Layers of one block that get the same inputs."""

    width: int
    layers: tuple[Projection, ...]

    @property
    def rows(self) -> int:
        return sum(layer.out_features for layer in self.layers)


def estimate_variant(
    model: RunModel,
    made: PruningSettings | ExpansionSettings,
    missing: Mapping[int, Sequence[str]],
    tokens: int,
    settings: Settings,
    pace: Pace,
    parts: int,
) -> Estimate:
    """What the layers `missing` (projections by block) of a variant take, on a run of `tokens`, in `parts` at once.

    All zero but the tokens when nothing is missing. Memory is that of each worker.
    """
    rate, basis = pace.gflops, pace.basis
    if rate <= 0:
        rate, basis = FALLBACK_GFLOPS, f"assumed: {FALLBACK_GFLOPS:.0f} GFLOP/s, no live worker"
    elif parts > 1:
        basis = f"{basis}; {parts} workers"
    work = _Work(model, made, tokens)
    blocks = [work.groups(names) for names in missing.values()]
    host, device = max((work.memory(groups, settings) for groups in blocks), default=(0.0, 0.0))
    return Estimate(
        tokens=tokens,
        host_bytes=int(host),
        device_bytes=int(device),
        store_bytes=int(sum(work.stored(groups) for groups in blocks)),
        seconds=round(sum(work.seconds(groups, rate) for groups in blocks) / max(1, parts), 1),
        basis=basis,
    )


class _Work:
    """The formulas, for one run and one variant."""

    def __init__(self, model: RunModel, made: PruningSettings | ExpansionSettings, tokens: int) -> None:
        self.model, self.made, self.tokens = model, made, tokens
        self.size = 4 if model.dtype == "float32" else 2
        self.expanding = isinstance(made, ExpansionSettings)
        self.experts = made.experts if isinstance(made, ExpansionSettings) else 1
        self.corrects = self.expanding or (
            isinstance(made, PruningSettings) and made.method is Method.sparsegpt
        )

    def groups(self, names: Sequence[str]) -> list[_Group]:
        """The layers `names` of a block by their inputs: those that widen from the same width share theirs."""
        chosen = [layer for layer in self.model.projections if layer.name in names]
        keys = {(layer.in_features, layer.in_features <= layer.out_features) for layer in chosen}
        return [
            _Group(
                width,
                tuple(
                    layer
                    for layer in chosen
                    if (layer.in_features, layer.in_features <= layer.out_features) == (width, widens)
                ),
            )
            for width, widens in sorted(keys)
        ]

    def memory(self, groups: Sequence[_Group], settings: Settings) -> tuple[float, float]:
        """Bytes of the worker's process on CPU, which holds everything, and of a device, which spares the overhead."""
        every = self.groups([layer.name for layer in self.model.projections])
        block = self._block()
        outside = max(0.0, self.model.parameters - block * self.model.blocks)
        weights = (outside + (1 + SWAP) * block) * self.size
        streams = self.tokens * self.model.d_model * self.size * STREAMS
        inputs = sum(self.tokens * group.width * self.size for group in every) * (1 + self.made.propagate)
        device = weights + streams + inputs + max(self._working(group, settings) for group in groups)
        return OVERHEAD_BYTES + device, device

    def _working(self, group: _Group, settings: Settings) -> float:
        copies = self.tokens * group.width * 4 * COPIES
        rows = group.rows if self.expanding else max(layer.out_features for layer in group.layers)
        each = 4.0 * (FORMS * group.width**2 + 2 * group.width * rows)
        together = each * max(1, min(self.experts, int(WORK_BYTES // each)))
        made = self.experts * group.width * group.rows * self.size
        most = max(layer.out_features for layer in group.layers) * self.tokens * 4
        compared = CHUNK_COPIES * min(settings.chunk_mebibytes * 2**20, most) if self.made.compare else 0
        return copies + made + max(together, compared)

    def stored(self, groups: Sequence[_Group]) -> float:
        """Bytes of these layers in the store."""
        return sum(self._stored(layer) for group in groups for layer in group.layers)

    def _stored(self, layer: Projection) -> float:
        kept = 1.0 - self.made.target * self._share()
        packed = self.experts * layer.in_features * layer.out_features * (1 / 8 + kept * self.size)
        if not self.made.compare:
            return packed
        histograms = 1 + (self.experts if self.expanding else 0)
        labels = 2 * self.tokens if self.expanding else 0
        return packed + layer.out_features * (BINS * 4 * histograms * COMPRESSED + NEURON_BYTES) + labels

    def _share(self) -> float:
        """Share of a layer's neurons that is pruned."""
        choice = self.made.neurons if isinstance(self.made, PruningSettings) else None
        if choice is None:
            return 1.0
        return 1.0 - choice.share if choice.keep else choice.share

    def seconds(self, groups: Sequence[_Group], gflops: float) -> float:
        """Time of a block at `gflops` 1e9 operations a second."""
        forwards = 1 + self.made.propagate * (1 + self.made.compare)
        products = 2.0 * self.tokens * self._block() * forwards
        steps = 0.0
        for group in groups:
            weights = group.width * group.rows
            products += self.tokens * group.width**2 + self._router(group)
            if not self.expanding:
                products += 2.0 * group.width * weights
            if self.corrects:
                factors = 1 if self.expanding else len(group.layers)
                products += self.experts * (factors * group.width**3 + group.width * weights)
                steps += self.experts * weights * self._share() / SWEPT_PER_SECOND
            if self.made.compare:
                products += 4.0 * self.tokens * weights
                sorted_values = (1 + self.expanding) * group.rows * self.tokens
                steps += sorted_values * log2(max(2, self.tokens)) / SORT_STEPS_PER_SECOND
        return products * INEFFICIENCY / (gflops * 1e9) + steps

    def _router(self, group: _Group) -> float:
        if not isinstance(self.made, ExpansionSettings):
            return 0.0
        reduced = max(1, group.width // self.made.reduction)
        clustering = 2.0 * CLUSTERING * self.tokens * reduced * self.experts
        return self.tokens * group.width**2 + EIGEN * group.width**3 + clustering

    def _block(self) -> float:
        """Weights of one block: its feed-forward layers, and attention, which is at most 4 d * d."""
        ffn = sum(layer.in_features * layer.out_features for layer in self.model.projections)
        return ffn + 4.0 * self.model.d_model**2
