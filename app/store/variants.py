"""Prunings and expansions of a run: made, written layer by layer, listed, deleted.

A layer of a variant is a folder of its own whose manifest comes last. Layers are independent: many workers write them
at once, and of two that write the same one both write the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from app.errors import Conflict, CorruptStore, NotFound
from app.schemas.expansion import Expansion, ExpansionSettings
from app.schemas.pruning import Pruning, PruningSettings
from app.schemas.variant import Coverage, LayerResult, VariantKind
from app.store import arrays as zarrays
from app.store import keys
from app.store.cache import Cache
from app.store.files import Buffer
from app.store.manifest import FileStamp, LayerManifest, VariantRecord
from app.store.parsing import parsed, to_parquet
from app.store.records import Records

SCHEMA = pa.schema(
    [
        ("index", pa.int32()),
        ("wd", pa.float64()),
        ("w1", pa.float64()),
        ("rmse", pa.float64()),
        ("zero_share", pa.float64()),
        ("weighted_wd", pa.float64()),
        ("weighted_md", pa.float64()),
        ("low", pa.float64()),
        ("width", pa.float64()),
    ]
)
"""One row per neuron of a layer's `neurons.parquet`; `low` and `width` are those of the shared bins."""

WEIGHTS = "weights.safetensors"
NEURONS = "neurons.parquet"
LABELS = "labels.parquet"
LABELS_SCHEMA = pa.schema([("expert", pa.int16())])
"""One row per calibration token: the expert it went to."""

COUNTS, EXPERT_COUNTS, EXPERT_WD = "arrays.zarr/counts", "arrays.zarr/expert_counts", "arrays.zarr/expert_wd"


@dataclass(frozen=True)
class LayerArtifacts:
    """What one layer of a variant consists of."""

    weights: Iterable[Buffer] | bytes
    """A safetensors file in parts; only workers look into it."""
    neurons: pa.Table | None = None
    """Rows of SCHEMA; None when the outputs were not compared."""
    counts: np.ndarray[Any, Any] | None = None
    """(neurons, bins) int32: outputs in the shared bins."""
    expert_counts: np.ndarray[Any, Any] | None = None
    """(neurons, experts, bins) int32."""
    expert_wd: np.ndarray[Any, Any] | None = None
    """(neurons, experts) float32; NaN for clusters without a WD."""
    labels: np.ndarray[Any, Any] | None = None
    """(tokens,): expert of each calibration token."""


class Variants:
    """The variants of all runs. Raises what `Store` does."""

    def __init__(self, records: Records) -> None:
        self._runs, self._files = records, records.files
        self._records: Cache[VariantRecord] = Cache(512)
        self._layers: Cache[LayerManifest] = Cache(16384)

    # Made and looked at

    def create(self, run: str, settings: PruningSettings | ExpansionSettings) -> str:
        """The id of the variant of these settings; its record is written if there is none yet."""
        self._runs.record(run)
        variant = variant_id(run, settings)
        pruning = settings if isinstance(settings, PruningSettings) else None
        expansion = settings if isinstance(settings, ExpansionSettings) else None
        record = VariantRecord(pruning=pruning, expansion=expansion, created_at=datetime.now(UTC))
        key = keys.variant(run, variant, "record.json")
        self._files.create(key, record.model_dump_json(indent=1).encode())
        return variant

    def record(self, run: str, variant: str) -> VariantRecord:
        """Settings of a variant. Raises NotFound."""
        self._runs.record(run)

        def load() -> VariantRecord:
            key = keys.variant(run, variant, "record.json")
            raw = self._files.read(key)
            if raw is None:
                kind = keys.kind_of(variant)
                raise NotFound(
                    f"Run '{run}' has no {kind} '{variant}'.",
                    hint=f"GET /api/v1/runs/{run}/{kind}s lists them.",
                )
            return parsed(VariantRecord, raw, key)

        return self._records.get((run, variant), load)

    def ids(self, run: str, kind: VariantKind) -> list[str]:
        """Ids of a run's prunings or expansions, the newest first."""
        self._runs.record(run)
        found = []
        for name in self._files.names(keys.variants(run, kind)):
            try:
                found.append((self.record(run, name).created_at, name))
            except NotFound:  # a folder left over from a deletion that was cut off
                continue
        return [name for _, name in sorted(found, reverse=True)]

    def results(self, run: str, variant: str) -> list[LayerResult]:
        """The layers that are done, in the model's order."""
        self.record(run, variant)
        places = {p.name: i for i, p in enumerate(self._runs.record(run).model.projections)}
        found = []
        for name in self._files.names(keys.variant(run, variant, "layers")):
            layer, _, projection = name.partition(".")
            if not layer.isdecimal() or projection not in places:
                continue
            manifest = self.layer(run, variant, int(layer), projection)
            if manifest is not None:
                found.append(manifest.result)
        return sorted(found, key=lambda result: (result.layer, places[result.projection]))

    def done(self, run: str, variant: str) -> set[tuple[int, str]]:
        """(layer, projection) of each layer that is done."""
        return {(result.layer, result.projection) for result in self.results(run, variant)}

    def layer(self, run: str, variant: str, layer: int, projection: str) -> LayerManifest | None:
        """The manifest of one layer; None when it is not done."""

        def load() -> LayerManifest:
            key = keys.variant_layer(run, variant, layer, projection, "manifest.json")
            raw = self._files.read(key)
            if raw is None:
                raise FileNotFoundError(key)
            return parsed(LayerManifest, raw, key)

        try:
            return self._layers.get((run, variant, layer, projection), load)
        except FileNotFoundError:
            return None

    def pruning(self, run: str, variant: str) -> Pruning:
        """A pruning as far as it has come. Raises NotFound."""
        settings = self.record(run, variant).settings
        if not isinstance(settings, PruningSettings):
            raise NotFound(
                f"'{variant}' is an expansion.", hint=f"GET /api/v1/runs/{run}/expansions/{variant}"
            )
        return Pruning(settings=settings, title=settings.title, **self._facts(run, variant))

    def expansion(self, run: str, variant: str) -> Expansion:
        """An expansion as far as it has come. Raises NotFound."""
        settings = self.record(run, variant).settings
        if not isinstance(settings, ExpansionSettings):
            raise NotFound(f"'{variant}' is a pruning.", hint=f"GET /api/v1/runs/{run}/prunings/{variant}")
        return Expansion(settings=settings, title=settings.title, **self._facts(run, variant))

    def missing(self, run: str, variant: str, coverage: Coverage) -> dict[int, list[str]]:
        """The layers of `coverage` that are not done: projections by block, both in the model's order.

        Raises NotFound for blocks or projections that the model does not have.
        """
        return self.left(run, variant, covered(self._runs, run, coverage))

    def left(self, run: str, variant: str, wanted: Mapping[int, Collection[str]]) -> dict[int, list[str]]:
        """What of the projections `wanted` of each block is not done, both in the model's order."""
        names, done = [p.name for p in self._runs.record(run).model.projections], self.done(run, variant)
        left = {
            layer: [name for name in names if name in wanted[layer] and (layer, name) not in done]
            for layer in sorted(wanted)
        }
        return {layer: found for layer, found in left.items() if found}

    def _facts(self, run: str, variant: str) -> dict[str, Any]:
        model = self._runs.record(run).model
        layers = self.results(run, variant)
        sizes = [p.out_features * p.in_features for p in model.projections]
        whole = sum(sizes) * model.blocks
        gone = sum(result.sparsity * result.weights for result in layers)
        export = keys.variant(run, variant, "export")
        return {
            "id": variant,
            "run": run,
            "created_at": self.record(run, variant).created_at,
            "layers": layers,
            "layers_total": len(sizes) * model.blocks,
            "complete": len(layers) == len(sizes) * model.blocks,
            "ffn_sparsity": gone / whole if layers else None,
            "model_sparsity": gone / model.parameters if layers and model.parameters else None,
            "export": self._files.path(export) if self._files.exists(f"{export}/config.json") else None,
        }

    # Written and read by jobs

    def write_layer(self, run: str, variant: str, result: LayerResult, artifacts: LayerArtifacts) -> None:
        """One layer of a variant, and last its manifest."""
        layer, projection = result.layer, result.projection
        files: dict[str, FileStamp] = {}

        def write(name: str, data: Buffer | Iterable[Buffer]) -> None:
            key = keys.variant_layer(run, variant, layer, projection, name)
            files[name] = FileStamp.of(self._files.write(key, data))

        self.drop_layer(run, variant, layer, projection)
        write(WEIGHTS, artifacts.weights)
        if artifacts.neurons is not None:
            write(NEURONS, to_parquet(artifacts.neurons.cast(SCHEMA)))
        if artifacts.labels is not None:
            table = pa.table({"expert": pa.array(artifacts.labels, pa.int16())}, schema=LABELS_SCHEMA)
            write(LABELS, to_parquet(table))
        for array, values in (
            (COUNTS, artifacts.counts),
            (EXPERT_COUNTS, artifacts.expert_counts),
            (EXPERT_WD, artifacts.expert_wd),
        ):
            for part, data in zarrays.encode(values).items() if values is not None else ():
                write(f"{array}/{part}", data)
        manifest = LayerManifest(result=result, files=files)
        key = keys.variant_layer(run, variant, layer, projection, "manifest.json")
        self._files.write(key, manifest.model_dump_json(indent=1).encode())

    def drop_layer(self, run: str, variant: str, layer: int, projection: str) -> None:
        """Make a layer undone and remove what is left of it."""
        self._files.delete(keys.variant_layer(run, variant, layer, projection, "manifest.json"))
        self._files.delete(keys.variant_layer(run, variant, layer, projection))
        self._layers.forget(run)

    def read(self, run: str, variant: str, layer: int, projection: str, name: str) -> bytes:
        """A file of a layer that is done. Raises NotFound, CorruptStore."""
        manifest = self.layer(run, variant, layer, projection)
        key = keys.variant_layer(run, variant, layer, projection, name)
        if manifest is None or name not in manifest.files:
            raise NotFound(
                f"'{variant}' has no {name} of {projection} of block {layer}.", hint="Submit it first."
            )
        data = self._files.read(key)
        if data is None or not manifest.files[name].matches_bytes(data):
            state = "is missing" if data is None else "does not match its checksum"
            raise CorruptStore(
                f"'{key}' {state}.", hint="Delete the pruning or expansion and submit it again."
            )
        return data

    def sound(self, run: str, variant: str, layer: int, projection: str) -> bool:
        """Whether a layer is done and each of its files is what its manifest says."""
        manifest = self.layer(run, variant, layer, projection)
        return manifest is not None and all(
            stamp.matches(self._files.stamp(keys.variant_layer(run, variant, layer, projection, name)))
            for name, stamp in manifest.files.items()
        )

    def export_path(self, run: str, variant: str) -> str:
        """Folder of a variant's exported model. Raises Conflict when the store is not on a local disk."""
        self.record(run, variant)
        if self._files.local is None:
            raise Conflict(
                f"The store at {self._files.url} is not a local folder; models are exported to local disks only.",
                hint="Set WASSERSCOPE_STORE to a folder that service and workers share.",
            )
        return self._files.path(keys.variant(run, variant, "export"))

    def drop_export(self, run: str, variant: str) -> None:
        """Remove a variant's exported model."""
        self._files.delete(keys.variant(run, variant, "export"))

    def delete(self, run: str, variant: str) -> None:
        """Remove a variant. Raises NotFound."""
        self.record(run, variant)
        self._files.delete(keys.variant(run, variant, "record.json"))
        self._files.delete(keys.variant(run, variant))
        self.forget(run)

    def forget(self, run: str) -> None:
        """Drop what is cached of a run."""
        self._records.forget(run)
        self._layers.forget(run)


def variant_id(run: str, settings: PruningSettings | ExpansionSettings) -> str:
    """The id of the variant of `run` with these settings."""
    prefix = "p" if isinstance(settings, PruningSettings) else "x"
    return keys.fingerprint(prefix, run, settings.model_dump(mode="json"))


def covered(records: Records, run: str, coverage: Coverage) -> dict[int, set[str]]:
    """Names of the projections of each block in `coverage`. Raises NotFound for what the model does not have."""
    model = records.record(run).model
    names = {p.name for p in model.projections}
    layers = range(model.blocks) if coverage.layers is None else sorted(set(coverage.layers))
    chosen = names if coverage.projections is None else set(coverage.projections)
    strange = [layer for layer in layers if not 0 <= layer < model.blocks]
    if strange:
        raise NotFound(
            f"Run '{run}' has no block {strange[0]}.", hint=f"Blocks go from 0 to {model.blocks - 1}."
        )
    if chosen - names:
        raise NotFound(
            f"Run '{run}' has no projection '{min(chosen - names)}'.",
            hint=f"Projections are {', '.join(p.name for p in model.projections)}.",
        )
    return dict.fromkeys(layers, chosen)
