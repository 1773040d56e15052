"""Sweeps of a run: made, written point by point, finished, read neuron by neuron, deleted.

A point that is done is one file, written whole: a job that is submitted again skips it. At the end all points become two
arrays with a row per neuron, so that a neuron is one small read of each; then the manifest makes the sweep finished, and
the points' files go. Checksums: the manifest's of the arrays, ZIP's own of a point's file.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import numpy as np

from app.errors import Conflict, CorruptStore, NotFound
from app.schemas.distribution import NeuronDistributions
from app.schemas.sweep import (
    NeuronSweep,
    NeuronSweepPoint,
    Sweep,
    SweepPoint,
    SweepPointResult,
    SweepRequest,
    points_of,
)
from app.schemas.variant import VariantKind
from app.store import arrays as zarrays
from app.store import keys
from app.store.cache import Cache
from app.store.manifest import FileStamp, SweepManifest, SweepRecord
from app.store.parsing import parsed
from app.store.records import Records
from app.store.rows import ArrayRows

NUMBERS = ("wd", "w1", "rmse")
"""What is kept of a neuron at a point, in this order."""
COUNTS_ARRAY, NUMBERS_ARRAY = "arrays.zarr/counts", "arrays.zarr/numbers"


@dataclass(frozen=True)
class PointArtifacts:
    """What one point of a sweep consists of."""

    result: SweepPointResult
    numbers: np.ndarray[Any, Any]
    """(neurons, 3) float64: NUMBERS; NaN for a WD of constant outputs."""
    counts: np.ndarray[Any, Any]
    """(neurons, bins) int32: outputs in the shared bins."""


class Sweeps:
    """The sweeps of all runs. Raises what `Store` does."""

    def __init__(self, records: Records, rows: ArrayRows) -> None:
        self._runs, self._files, self._rows = records, records.files, rows
        self._records: Cache[SweepRecord] = Cache(512)
        self._manifests: Cache[SweepManifest] = Cache(512)

    def create(self, run: str, request: SweepRequest) -> str:
        """The id of the sweep of this request; its record is written if there is none yet."""
        self._runs.record(run)
        sweep = sweep_id(run, request)
        record = SweepRecord(request=request, created_at=datetime.now(UTC))
        self._files.create(keys.sweep(run, sweep, "record.json"), record.model_dump_json(indent=1).encode())
        return sweep

    def record(self, run: str, sweep: str) -> SweepRecord:
        """What was asked for. Raises NotFound."""
        self._runs.record(run)

        def load() -> SweepRecord:
            key = keys.sweep(run, sweep, "record.json")
            raw = self._files.read(key)
            if raw is None:
                hint = f"GET /api/v1/runs/{run}/sweeps lists them."
                raise NotFound(f"Run '{run}' has no sweep '{sweep}'.", hint=hint)
            return parsed(SweepRecord, raw, key)

        return self._records.get((run, sweep), load)

    def get(self, run: str, sweep: str) -> Sweep:
        """A sweep as far as it has come. Raises NotFound."""
        record, manifest = self.record(run, sweep), self.manifest(run, sweep)
        points = points_of(record.request)
        return Sweep(
            id=sweep,
            run=run,
            request=record.request,
            title=record.request.title,
            created_at=record.created_at,
            points=points,
            done=len(points) if manifest else len(self.done(run, sweep)),
            finished=manifest is not None,
            results=manifest.results if manifest else [],
            seconds=manifest.seconds if manifest else None,
        )

    def ids(self, run: str, layer: int | None = None, projection: str | None = None) -> list[str]:
        """Ids of a run's sweeps, or of those of one layer, the newest first."""
        self._runs.record(run)
        found = []
        for name in self._files.names(keys.run(run, "sweeps")):
            try:
                record = self.record(run, name)
            except NotFound:  # a folder left over from a deletion that was cut off
                continue
            request = record.request
            if layer in (None, request.layer) and projection in (None, request.projection):
                found.append((record.created_at, name))
        return [name for _, name in sorted(found, reverse=True)]

    def manifest(self, run: str, sweep: str) -> SweepManifest | None:
        """The manifest of a finished sweep; None while it is not finished."""

        def load() -> SweepManifest:
            key = keys.sweep(run, sweep, "manifest.json")
            raw = self._files.read(key)
            if raw is None:
                raise FileNotFoundError(key)
            return parsed(SweepManifest, raw, key)

        try:
            return self._manifests.get((run, sweep), load)
        except FileNotFoundError:
            return None

    def done(self, run: str, sweep: str) -> set[int]:
        """Numbers of the points, from 0, whose files are there; of a sweep that is not finished."""
        names = self._files.names(keys.sweep(run, sweep, "parts"))
        return {int(stem) for name in names if (stem := name.removesuffix(".npz")).isdecimal()}

    # Written by jobs

    def write_point(self, run: str, sweep: str, number: int, point: PointArtifacts) -> None:
        """One point, whole."""
        sink = io.BytesIO()
        result = np.frombuffer(point.result.model_dump_json().encode(), dtype=np.uint8)
        np.savez_compressed(sink, result=result, numbers=point.numbers, counts=point.counts)
        self._files.write(keys.sweep(run, sweep, _part(number)), sink.getvalue())

    def finish(self, run: str, sweep: str, seconds: float) -> None:
        """Join the points to arrays by neuron, write the manifest last, and let the points' files go.

        Raises CorruptStore for a damaged point, which is removed: the next attempt makes it again.
        """
        count = len(points_of(self.record(run, sweep).request))
        results: list[SweepPointResult] = []
        whole: dict[str, np.ndarray[Any, Any]] = {}
        for number in range(count):
            point = self._read_point(run, sweep, number)
            results.append(point.result)
            for name, values in ((COUNTS_ARRAY, point.counts), (NUMBERS_ARRAY, point.numbers)):
                if number == 0:
                    whole[name] = np.empty((len(values), count, values.shape[1]), values.dtype)
                whole[name][:, number] = values
        files: dict[str, FileStamp] = {}
        for name in list(whole):
            for part, data in zarrays.encode(whole.pop(name)).items():
                key = keys.sweep(run, sweep, f"{name}/{part}")
                files[f"{name}/{part}"] = FileStamp.of(self._files.write(key, data))
        manifest = SweepManifest(results=results, seconds=seconds, files=files)
        key = keys.sweep(run, sweep, "manifest.json")
        self._files.write(key, manifest.model_dump_json(indent=1).encode())
        self._files.delete(keys.sweep(run, sweep, "parts"))

    def _read_point(self, run: str, sweep: str, number: int) -> PointArtifacts:
        key = keys.sweep(run, sweep, _part(number))
        raw = self._files.read(key)
        try:
            with np.load(io.BytesIO(raw or b""), allow_pickle=False) as found:
                result = SweepPointResult.model_validate_json(found["result"].tobytes())
                return PointArtifacts(result, found["numbers"], found["counts"])
        except Exception as error:  # zipfile, zlib and numpy each raise their own classes
            self._files.delete(key)
            raise CorruptStore(
                f"'{key}' cannot be read: {error or type(error).__name__}", hint="Submit the sweep again."
            ) from error

    # Read and removed

    def neuron(self, run: str, sweep: str, neuron: NeuronDistributions) -> NeuronSweep:
        """One neuron, given dense, at every point. Raises NotFound, Conflict and CorruptStore."""
        request, manifest = self.record(run, sweep).request, self.manifest(run, sweep)
        if (request.layer, request.projection) != (neuron.layer, neuron.projection):
            raise Conflict(
                f"'{sweep}' is of {request.projection} of block {request.layer}, not of {neuron.projection} of "
                f"block {neuron.layer}.",
                hint=f"GET /api/v1/runs/{run}/sweeps?layer={neuron.layer}&projection={neuron.projection} lists those "
                "of this layer.",
            )
        if manifest is None:
            done, count = len(self.done(run, sweep)), len(points_of(request))
            raise Conflict(
                f"'{sweep}' is not finished: {done} of {count} points are done.",
                hint="Wait for its job, or submit it again to go on.",
            )
        folder, owner = keys.sweep(run, sweep), (run, sweep)
        counts = self._rows.row(owner, folder, COUNTS_ARRAY, manifest.files, neuron.index)
        numbers = self._rows.row(owner, folder, NUMBERS_ARRAY, manifest.files, neuron.index)
        points = [
            _at_point(result, counted.tolist(), dict(zip(NUMBERS, row.tolist(), strict=True)), neuron.std)
            for result, counted, row in zip(manifest.results, counts, numbers, strict=True)
        ]
        return NeuronSweep(
            sweep=sweep,
            points=with_ri(points),
            **neuron.model_dump(
                include={
                    "layer",
                    "projection",
                    "index",
                    "tokens",
                    "low",
                    "width",
                    "dense",
                    "wd",
                    "mean",
                    "std",
                }
            ),
        )

    def delete(self, run: str, sweep: str) -> None:
        """Remove a sweep. Raises NotFound."""
        self.record(run, sweep)
        self._files.delete(keys.sweep(run, sweep, "manifest.json"))
        self._files.delete(keys.sweep(run, sweep, "record.json"))
        self._files.delete(keys.sweep(run, sweep))
        self.forget(run)
        self._rows.forget(run)

    def forget(self, run: str) -> None:
        """Drop what is cached of a run."""
        self._records.forget(run)
        self._manifests.forget(run)


def sweep_id(run: str, request: SweepRequest) -> str:
    """The id of the sweep of `run` with this request."""
    return keys.fingerprint("s", run, request.model_dump(mode="json"))


def with_ri(points: list[NeuronSweepPoint]) -> list[NeuronSweepPoint]:
    """The points, expansions with their RI against SparseGPT of the same amount."""
    plain = {(p.sparsity, p.pattern): p.rmse for p in points if p.kind is VariantKind.pruning}
    found = []
    for point in points:
        if point.kind is VariantKind.expansion:
            sparse = plain[point.sparsity, point.pattern]
            ri = 1.0 if sparse == point.rmse == 0 else sparse / point.rmse if point.rmse else None
            point = point.model_copy(update={"ri": ri})
        found.append(point)
    return found


def _at_point(
    point: SweepPoint, counts: list[int], numbers: dict[str, float], std: float
) -> NeuronSweepPoint:
    return NeuronSweepPoint(
        **point.model_dump(include=set(SweepPoint.model_fields)),
        counts=counts,
        wd=numbers["wd"] if isfinite(numbers["wd"]) else None,
        w1=numbers["w1"],
        rmse=numbers["rmse"],
        relative_rmse=numbers["rmse"] / std if std > 0 else None,
    )


def _part(number: int) -> str:
    return f"parts/{number:03d}.npz"
