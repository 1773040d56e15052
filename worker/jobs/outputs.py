"""The outputs job: every token's output of one layer of a finished run, and the distances of its pairs, into the store.

The block is run again from its stored inputs and the layer computed as it was scored (`worker.jobs.scoring`), so on the
same kind of machine the outputs are bit-equal to those behind the run's histogram. Memory: as for scoring that block
with one layer instead of all, and one shard of outputs three times (as it is, laid out, compressed).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from app.errors import NotFound
from app.settings import Settings
from app.store import Store
from worker import device as devices
from worker.jobs import session as sessions
from worker.jobs.live import live_progress
from worker.jobs.scoring import Kept, Linear, chunk_rows
from worker.jobs.session import Session
from worker.numerics.mapping import PairDistances
from worker.numerics.reference import score_reference
from worker.progress import Progress

SHARD_BYTES = 32 * 2**20
"""Outputs that are written as one file, about: they pass through memory together."""
RUNNING_SHARE = 0.5
"""Share of the time that goes into running the block; the rest is writing. Only the progress bar rests on it."""


def outputs(run: str, layer: int, projection: str) -> None:
    """The queued job."""
    settings = Settings()
    store = Store(settings.store)
    device = devices.prepare(settings)
    with live_progress(settings, store.id, str(device)) as progress:
        store_outputs(run, layer, projection, settings, store, device, progress)


def store_outputs(
    run: str,
    layer: int,
    projection: str,
    settings: Settings,
    store: Store,
    device: torch.device,
    progress: Progress,
) -> None:
    """Store the outputs of one layer, unless they are there and sound. Raises errors of `app.errors`."""
    progress.check()
    if store.outputs.manifest(run, layer, projection) is not None:
        damaged = store.outputs.verify(run, layer, projection)
        if not damaged:
            progress.log("the outputs are stored already; nothing is computed again")
            return
        progress.log(f"the outputs are stored again: {', '.join(damaged)} missing or altered")
    with sessions.guarded(store.record(run), settings, device):
        started = datetime.now(UTC)
        session = Session.open(run, settings, store, device, progress)
        Storing(session, layer, projection, started).go()


@dataclass
class Storing:
    """One attempt at a layer."""

    session: Session
    layer: int
    projection: str
    started: datetime

    def go(self) -> None:
        """Run the block, then write."""
        session, where = self.session, f"block {self.layer} {self.projection}"
        stream = session.dense_inputs(self.layer)
        session.progress.phase(f"running block {self.layer}")
        with session.model.block(self.layer) as block, sessions.numerics(where):
            named = [p for p in block.projections() if p.projection.name == self.projection]
            if not named:
                raise NotFound(f"There is no layer {where}.", hint="See the run's layers.")
            linear = Linear(named[0].projection, named[0].weight, named[0].bias)
            request = session.record.request
            kept = Kept([linear], score_reference(stream.tokens, request.pairs, request.seed))
            start = 0
            for i, batch in enumerate(stream.batches):
                kept.take(block.inputs(stream.hidden[i], batch), start)
                start += stream.shapes[i].numel() // stream.shapes[i][-1]
                self.tell(RUNNING_SHARE * start / stream.tokens)
            self.write(kept, linear)

    def write(self, kept: Kept, linear: Linear) -> None:
        """Everything into the store."""
        session, tokens = self.session, kept.reference.tokens
        neurons = linear.projection.out_features
        session.progress.phase(f"storing {neurons:,} neurons of {tokens:,} tokens")
        distances = kept.distances(linear)
        manifest = session.store.outputs.write(
            session.run,
            self.layer,
            self.projection,
            shape=(neurons, tokens),
            shard_rows=chunk_rows(tokens, SHARD_BYTES),
            parts=self.parts(kept.outputs(linear, SHARD_BYTES), neurons),
            pairs=_pairs_table(distances),
            left_out=distances.left_out,
            device=str(session.device),
            started=self.started,
        )
        size = sum(stamp.size for stamp in manifest.files.values())
        session.progress.log(f"stored {neurons:,} neurons of {tokens:,} tokens, {size / 2**20:,.0f} MiB")

    def parts(self, chunks: Iterator[Tensor], neurons: int) -> Iterator[np.ndarray[Any, Any]]:
        """The chunks as the store takes them; says at the end how far they are from what the run has of them."""
        scores = self.session.store.scores(self.session.run)
        known = scores.columns(self.layer, self.projection, ["low", "high", "std"])
        spread = np.maximum(np.array(known["std"], dtype=float), np.finfo(np.float32).tiny)
        done, apart = 0, 0.0
        for chunk in chunks:
            values = chunk.cpu().numpy()
            rows = slice(done, done + len(values))
            for end, found in (("low", values.min(axis=1)), ("high", values.max(axis=1))):
                apart = max(apart, float((np.abs(found - np.array(known[end][rows])) / spread[rows]).max()))
            yield values
            done += len(values)
            self.tell(RUNNING_SHARE + (1 - RUNNING_SHARE) * done / neurons)
        self.session.progress.log(
            f"the outputs' ranges are within {apart:.1g} standard deviations of those the run found"
        )

    def tell(self, share: float) -> None:
        """Say how far the job is, and stop if it was cancelled."""
        self.session.progress.advance(share)
        self.session.progress.check()


def _pairs_table(found: PairDistances) -> pa.Table:
    columns = (found.pairs.first, found.pairs.second, found.distances)
    return pa.table(
        dict(zip(("first", "second", "distance"), (c.cpu().numpy() for c in columns), strict=True))
    )
