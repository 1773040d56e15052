"""Every token's output of a layer, stored when asked for: one row a neuron, and the run's pairs with their distances.

The manifest comes last: what has none does not exist. A layer is written by one job; asked for twice it is one layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from app.errors import Conflict, CorruptStore
from app.schemas.outputs import LayerOutputs
from app.store import arrays as zarrays
from app.store import keys
from app.store.cache import Cache
from app.store.manifest import FileStamp, OutputsManifest, OutputsRecord
from app.store.parsing import from_parquet, parsed, to_parquet
from app.store.records import Records
from app.store.rows import ArrayRows, guarded

ARRAY, PAIRS = "arrays.zarr/outputs", "pairs.parquet"
PAIRS_SCHEMA = pa.schema([("first", pa.int32()), ("second", pa.int32()), ("distance", pa.float32())])
"""`pairs.parquet`: positions of a pair's tokens and the Euclidean distance of the layer's inputs, above 0."""
_HINT = "DELETE the layer's outputs and submit them again."


class Outputs:
    """The stored outputs of all runs. Raises what `Store` does."""

    def __init__(self, records: Records, rows: ArrayRows) -> None:
        self._runs, self._files, self._rows = records, records.files, rows
        self._manifests: Cache[OutputsManifest] = Cache(512)
        self._pairs: Cache[pa.Table] = Cache(32)

    def create(self, run: str, layer: int, projection: str) -> bool:
        """Note that a layer's outputs were asked for; whether that is new."""
        record = OutputsRecord(created_at=datetime.now(UTC))
        key = keys.outputs(run, layer, projection, "record.json")
        return self._files.create(key, record.model_dump_json(indent=1).encode())

    def asked(self, run: str) -> list[tuple[int, str]]:
        """(layer, projection) of whatever was asked for, there or not, by layer and name."""
        found = []
        for name in self._files.names(keys.run(run, "outputs")):
            layer, _, projection = name.partition(".")
            if layer.isdecimal() and projection:
                found.append((int(layer), projection))
        return sorted(found)

    def manifest(self, run: str, layer: int, projection: str) -> OutputsManifest | None:
        """What is stored of a layer; None when nothing is."""

        def load() -> OutputsManifest:
            key = keys.outputs(run, layer, projection, "manifest.json")
            raw = self._files.read(key)
            if raw is None:
                raise FileNotFoundError(key)
            return parsed(OutputsManifest, raw, key)

        try:
            return self._manifests.get((run, layer, projection), load)
        except FileNotFoundError:
            return None

    def require(self, run: str, layer: int, projection: str) -> OutputsManifest:
        """What is stored of a layer. Raises Conflict when nothing is."""
        found = self.manifest(run, layer, projection)
        if found is None:
            raise Conflict(
                f"The outputs of {projection} of block {layer} are not stored: a run keeps histograms, not every token.",
                hint=f"POST /api/v1/runs/{run}/layers/{layer}/{projection}/outputs stores them; it takes seconds.",
            )
        return found

    def state(self, run: str, layer: int, projection: str) -> LayerOutputs:
        """What is stored of a layer, or what it would take. Raises NotFound for a layer the model does not have."""
        record, facts = self._runs.record(run), self._runs.facts(run)
        neurons = next((p.out_features for p in record.model.projections if p.name == projection), 0)
        tokens = facts.tokens if facts else 0
        found = self.manifest(run, layer, projection)
        return LayerOutputs(
            run=run,
            layer=layer,
            projection=projection,
            neurons=neurons,
            tokens=tokens,
            stored=found is not None,
            size_bytes=sum(s.size for s in found.files.values()) if found else 4 * neurons * tokens,
            stored_at=found.stored_at if found else None,
            seconds=found.seconds if found else None,
            device=found.device if found else None,
        )

    def row(self, run: str, layer: int, projection: str, index: int) -> np.ndarray[Any, Any]:
        """One neuron's output for every token, (tokens,) float32. Raises Conflict, CorruptStore."""
        found = self.require(run, layer, projection)
        folder = keys.outputs(run, layer, projection)
        owner = (run, layer, projection, found.stored_at)
        return self._rows.row(owner, folder, ARRAY, found.files, index)

    def pairs(self, run: str, layer: int, projection: str) -> pa.Table:
        """The layer's pairs (PAIRS_SCHEMA). Raises Conflict, CorruptStore."""
        found = self.require(run, layer, projection)
        key = keys.outputs(run, layer, projection, PAIRS)

        def load() -> pa.Table:
            data = self._files.read(key)
            if data is None or not found.files[PAIRS].matches_bytes(data):
                state = "is missing" if data is None else "does not match its checksum"
                raise CorruptStore(f"'{key}' {state}.", hint=_HINT)
            return guarded(key, lambda: from_parquet(data))

        return self._pairs.get((run, layer, projection, found.stored_at), load)

    def write(
        self,
        run: str,
        layer: int,
        projection: str,
        *,
        shape: tuple[int, int],
        shard_rows: int,
        parts: Iterable[np.ndarray[Any, Any]],
        pairs: pa.Table,
        left_out: int,
        device: str,
        started: datetime,
    ) -> OutputsManifest:
        """A layer's outputs, (neurons, tokens) in `parts` of `shard_rows` neurons, and last the manifest."""
        self._drop(run, layer, projection)
        files: dict[str, FileStamp] = {}

        def write(name: str, data: bytes) -> None:
            files[name] = FileStamp.of(self._files.write(keys.outputs(run, layer, projection, name), data))

        for part, data in zarrays.encode_rows(shape, "float32", shard_rows, parts):
            write(f"{ARRAY}/{part}", data)
        write(PAIRS, to_parquet(pairs.cast(PAIRS_SCHEMA)))
        now = datetime.now(UTC)
        manifest = OutputsManifest(
            layer=layer,
            projection=projection,
            neurons=shape[0],
            tokens=shape[1],
            left_out=left_out,
            seconds=(now - started).total_seconds(),
            device=device,
            stored_at=now,
            files=files,
        )
        key = keys.outputs(run, layer, projection, "manifest.json")
        self._files.write(key, manifest.model_dump_json(indent=1).encode())
        return manifest

    def verify(self, run: str, layer: int, projection: str) -> list[str]:
        """Names of a stored layer's files that are missing or differ from their checksums."""
        found = self.require(run, layer, projection)
        return [
            name
            for name, stamp in found.files.items()
            if not stamp.matches(self._files.stamp(keys.outputs(run, layer, projection, name)))
        ]

    def delete(self, run: str, layer: int, projection: str) -> None:
        """Remove a layer's outputs, and that they were asked for."""
        self._files.delete(keys.outputs(run, layer, projection, "manifest.json"))
        self._files.delete(keys.outputs(run, layer, projection))
        self.forget(run)

    def forget(self, run: str) -> None:
        """Drop what is cached of a run."""
        for cache in (self._manifests, self._pairs, self._rows):
            cache.forget(run)

    def _drop(self, run: str, layer: int, projection: str) -> None:
        """Remove what a killed writer has left, but not that the outputs were asked for."""
        for name in ("manifest.json", ARRAY, PAIRS):
            self._files.delete(keys.outputs(run, layer, projection, name))
        self.forget(run)
