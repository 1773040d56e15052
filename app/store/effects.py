"""What variants did to neurons, as pages show it: scores joined with comparisons, and distributions on shared bins."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, isfinite, sqrt
from typing import Any

import numpy as np
import pyarrow as pa

from app.errors import Conflict
from app.schemas.distribution import (
    ChangedOutputs,
    ExpandedOutputs,
    ExpertOutputs,
    NeuronDistributions,
)
from app.schemas.expansion import ExpertToken, ExpertTokens
from app.schemas.neuron import NeuronDetail
from app.schemas.variant import VariantKind
from app.store import keys, variants
from app.store.cache import Cache
from app.store.manifest import LayerManifest
from app.store.parsing import from_parquet
from app.store.rows import ArrayRows, guarded
from app.store.scores import groups
from app.store.tokens import TokenStream
from app.store.variants import Variants

COLUMNS = {
    VariantKind.pruning: {"pruned_wd": "wd", "pruned_w1": "w1", "pruned_rmse": "rmse"},
    VariantKind.expansion: {
        "expanded_wd": "wd",
        "expanded_w1": "w1",
        "expanded_rmse": "rmse",
        "weighted_wd": "weighted_wd",
        "weighted_md": "weighted_md",
    },
}
"""Columns that a variant adds to the scores, and what they are called in its own tables."""

MARGIN_BINS = 32
"""Shared bins beyond the dense range, on each side; the range itself has half as many bins as the run's histogram."""
EXAMPLES = 24
COMMONEST = 12


class Effects:
    """Reads what jobs compared. Rows come from open arrays: a neuron costs milliseconds."""

    def __init__(self, store: Variants, rows: ArrayRows) -> None:
        self._store, self._rows = store, rows
        self._neurons: Cache[pa.Table] = Cache(512)
        self._labels: Cache[np.ndarray[Any, Any]] = Cache(128)

    def forget(self, run: str) -> None:
        """Drop what is cached of a run."""
        for cache in (self._neurons, self._labels):
            cache.forget(run)

    # Scores with what variants did

    def joined(self, run: str, scores: pa.Table, chosen: Sequence[str]) -> pa.Table:
        """`scores` (ordered by layer, projection, index) with the columns of the variants `chosen`, null elsewhere.

        With a pruning and an expansion, `ri` is the ratio of their RMSE; null where the expansion is exact.
        """
        for variant in chosen:
            kind = keys.kind_of(variant)
            values = {name: np.full(scores.num_rows, np.nan) for name in COLUMNS[kind]}
            starts = _starts(scores)
            for result in self._store.results(run, variant):
                where = starts.get((result.layer, result.projection))
                found = self._compared(run, variant, result.layer, result.projection)
                if where is None or found is None or found.num_rows != where.stop - where.start:
                    continue
                for name, column in COLUMNS[kind].items():
                    values[name][where] = found[column].to_numpy(zero_copy_only=False)
            for name, column_values in values.items():
                scores = scores.append_column(name, pa.array(column_values, from_pandas=True))
        if {"pruned_rmse", "expanded_rmse"} <= set(scores.column_names):
            pruned = scores["pruned_rmse"].to_numpy(zero_copy_only=False)
            expanded = scores["expanded_rmse"].to_numpy(zero_copy_only=False)
            with np.errstate(divide="ignore", invalid="ignore"):
                ri = np.where((pruned == 0) & (expanded == 0), 1.0, pruned / expanded)
            scores = scores.append_column(
                "ri", pa.array(np.where(np.isfinite(ri), ri, np.nan), from_pandas=True)
            )
        return scores

    def _compared(self, run: str, variant: str, layer: int, projection: str) -> pa.Table | None:
        manifest = self._store.layer(run, variant, layer, projection)
        if manifest is None or variants.NEURONS not in manifest.files:
            return None

        def load() -> pa.Table:
            data = self._store.read(run, variant, layer, projection, variants.NEURONS)
            return guarded(variants.NEURONS, lambda: from_parquet(data))

        return self._neurons.get((run, variant, layer, projection), load)

    # One neuron

    def distributions(
        self, run: str, neuron: NeuronDetail, pruning: str | None, expansion: str | None
    ) -> NeuronDistributions:
        """`neuron` dense and as the variants made it. Raises NotFound, and Conflict for a layer not done yet."""
        low, width = _bins(neuron)
        dense = _dense(neuron)
        pruned = self._changed(run, pruning, neuron) if pruning else None
        expanded = self._expanded(run, expansion, neuron) if expansion else None
        ri = None
        if pruned and expanded:
            ri = (
                1.0
                if pruned["rmse"] == expanded["rmse"] == 0
                else (pruned["rmse"] / expanded["rmse"] if expanded["rmse"] else None)
            )
        return NeuronDistributions(
            layer=neuron.layer,
            projection=neuron.projection,
            index=neuron.index,
            tokens=sum(dense),
            low=low,
            width=width,
            dense=dense,
            gaussian=_gaussian(neuron.mean, neuron.std, low, width, len(dense), sum(dense)),
            wd=neuron.wd,
            md=neuron.md,
            mean=neuron.mean,
            std=neuron.std,
            pruning=ChangedOutputs(**pruned) if pruned else None,
            expansion=ExpandedOutputs(**expanded) if expanded else None,
            ri=ri,
        )

    def _changed(self, run: str, variant: str, neuron: NeuronDetail) -> dict[str, Any]:
        settings = self._store.record(run, variant).settings
        manifest = self._compared_layer(run, variant, neuron.layer, neuron.projection)
        table = self._compared(run, variant, neuron.layer, neuron.projection)
        row = table.slice(neuron.index, 1).to_pylist()[0] if table is not None else {}
        counts = self._row(run, variant, manifest, variants.COUNTS, neuron.index)
        return {
            "variant": variant,
            "title": settings.title,
            "counts": counts.tolist(),
            "wd": row["wd"],
            "w1": row["w1"],
            "rmse": row["rmse"],
            "relative_rmse": row["rmse"] / neuron.std if neuron.std > 0 else None,
            "zero_share": row["zero_share"],
            "weighted_wd": row["weighted_wd"],
            "weighted_md": row["weighted_md"],
        }

    def _expanded(self, run: str, variant: str, neuron: NeuronDetail) -> dict[str, Any]:
        changed = self._changed(run, variant, neuron)
        manifest = self._compared_layer(run, variant, neuron.layer, neuron.projection)
        counts = self._row(run, variant, manifest, variants.EXPERT_COUNTS, neuron.index)
        distances = self._row(run, variant, manifest, variants.EXPERT_WD, neuron.index)
        labels = self.labels(run, variant, neuron.layer, neuron.projection)
        shown = neuron.tokens.high + neuron.tokens.low + neuron.tokens.random
        return {
            **changed,
            "experts": [
                ExpertOutputs(
                    expert=cluster.expert,
                    tokens=cluster.tokens,
                    counts=counts[cluster.expert].tolist(),
                    wd=float(wd) if isfinite(wd := distances[cluster.expert]) else None,
                )
                for cluster in manifest.result.clusters
            ],
            "token_experts": {token.position: int(labels[token.position]) for token in shown},
        }

    def _row(
        self, run: str, variant: str, manifest: LayerManifest, name: str, index: int
    ) -> np.ndarray[Any, Any]:
        layer, projection = manifest.result.layer, manifest.result.projection
        folder = keys.variant_layer(run, variant, layer, projection)
        return self._rows.row((run, variant, layer, projection), folder, name, manifest.files, index)

    def _compared_layer(self, run: str, variant: str, layer: int, projection: str) -> LayerManifest:
        record, manifest = (
            self._store.record(run, variant),
            self._store.layer(run, variant, layer, projection),
        )
        if manifest is None:
            raise Conflict(
                f"'{record.settings.title}' has not done {projection} of block {layer}.",
                hint=f"POST /api/v1/runs/{run}/{keys.kind_of(variant)}s with its settings and "
                f'"layers": [{layer}] adds it.',
            )
        if variants.NEURONS not in manifest.files:
            raise Conflict(
                f"'{record.settings.title}' was made without comparing outputs.",
                hint='Submit it with "compare": true.',
            )
        return manifest

    # Experts

    def labels(self, run: str, variant: str, layer: int, projection: str) -> np.ndarray[Any, Any]:
        """Expert of each calibration token of a layer, (tokens,) int16. Raises NotFound."""

        def load() -> np.ndarray[Any, Any]:
            data = self._store.read(run, variant, layer, projection, variants.LABELS)
            table: pa.Table = guarded(variants.LABELS, lambda: from_parquet(data))
            return np.asarray(table["expert"].to_numpy())

        return self._labels.get((run, variant, layer, projection), load)

    def assigned(self, run: str, variant: str, layer: int, projection: str) -> np.ndarray[Any, Any]:
        """As `labels`. Raises NotFound for an expansion that is unknown, and Conflict for a layer not done yet."""
        self._store.record(run, variant)
        if self._store.layer(run, variant, layer, projection) is None:
            self._compared_layer(run, variant, layer, projection)
        return self.labels(run, variant, layer, projection)

    def experts(
        self, run: str, variant: str, layer: int, projection: str, stream: TokenStream
    ) -> list[ExpertTokens]:
        """What goes to each expert of a layer: sizes, commonest tokens, examples in their text."""
        labels = self.assigned(run, variant, layer, projection)
        manifest = self._store.layer(run, variant, layer, projection)
        pieces = stream.table["piece"].combine_chunks()
        found = []
        for cluster in manifest.result.clusters if manifest else []:
            positions = np.flatnonzero(labels == cluster.expert)
            counted = pieces.take(pa.array(positions)).value_counts().to_pylist()
            counted.sort(key=lambda entry: (-entry["counts"], entry["values"]))
            places = (
                positions[np.unique(np.linspace(0, len(positions) - 1, EXAMPLES).astype(int))]
                if len(positions)
                else []
            )
            examples = [stream.example(int(place), 0.0) for place in places]
            found.append(
                ExpertTokens(
                    expert=cluster.expert,
                    tokens=len(positions),
                    share=len(positions) / max(len(labels), 1),
                    commonest=[(entry["values"], entry["counts"]) for entry in counted[:COMMONEST]],
                    examples=[
                        ExpertToken(position=e.position, token=e.token, before=e.before, after=e.after)
                        for e in examples
                    ],
                )
            )
        return found


def _starts(scores: pa.Table) -> dict[tuple[int, str], slice]:
    """Where each layer's rows lie in a table ordered by layer."""
    names = scores["projection"]
    layers = scores["layer"].to_numpy()
    return {
        (int(layers[start]), names[start].as_py()): slice(start, stop)
        for start, stop in groups(layers, scores["place"].to_numpy())
    }


def _bins(neuron: NeuronDetail) -> tuple[float, float]:
    """Lower edge and width of the neuron's shared bins (as `worker.numerics` counts in them)."""
    low, high = neuron.distribution.low, neuron.distribution.high
    inner = len(neuron.distribution.counts) // 2
    width = (high - low) / inner if not neuron.constant else 0.0
    if width <= 0:
        width = max(abs(low), 1.0) * 1e-3
    return low - MARGIN_BINS * width, width


def _dense(neuron: NeuronDetail) -> list[int]:
    """The run's histogram in shared bins: neighbours joined, nothing beyond the range."""
    counts, beyond = neuron.distribution.counts, [0] * MARGIN_BINS
    if neuron.constant:
        return [*beyond, sum(counts), *[0] * (len(counts) // 2 - 1), *beyond]
    return [*beyond, *(a + b for a, b in zip(counts[::2], counts[1::2], strict=True)), *beyond]


def _gaussian(mean: float, std: float, low: float, width: float, bins: int, tokens: int) -> list[float]:
    """Tokens that N(mean, std) has in each bin; all in the mean's bin where std is 0. Tails go to the outermost."""
    if std <= 0:
        place = min(max(int((mean - low) / width), 0), bins - 1)
        return [float(tokens) if i == place else 0.0 for i in range(bins)]
    edges = [0.5 * (1 + erf((low + i * width - mean) / (std * sqrt(2)))) for i in range(1, bins)]
    below = [0.0, *edges]
    return [tokens * (b - a) for a, b in zip(below, [*edges, 1.0], strict=True)]
