"""The explore job: run a model over a corpus block by block and score every neuron of its feed-forward layers.

Validate, load, compute, store, report. A block is the unit of everything: its weights are loaded once, its inputs,
scores and arrays are written when it is done, and an interrupted run goes on at the first block that is missing. That
block's input comes from running the block before it on its stored inputs, which gives the very same bits.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from app import catalog
from app.errors import CorpusError, ModelError, NumericsError
from app.schemas.model import Estimate
from app.settings import Settings
from app.store import Store
from app.store.manifest import RunFacts, RunRecord
from worker import device as devices
from worker import guard
from worker.corpora import TokenWindows, token_windows
from worker.jobs import memory
from worker.jobs.live import live_progress
from worker.jobs.scoring import Kept, Linear, score_linear
from worker.jobs.session import load_model
from worker.jobs.stream import Stream
from worker.jobs.tensors import file_parts, split_file
from worker.models import BlockModel
from worker.numerics.errors import NumericsFailure
from worker.numerics.reference import ScoreReference, score_reference
from worker.progress import Progress

RUNNING_SHARE = 0.3
"""Share of a block's time that its batches take; the rest is scoring. Only the progress bar rests on it."""


def explore(run: str) -> None:
    """The queued job: settings from the environment, progress to Redis."""
    settings = Settings()
    store = Store(settings.store)
    device = devices.prepare(settings)
    with live_progress(settings, store.id, str(device)) as progress:
        explore_run(run, settings, store, device, progress)


def explore_run(run: str, settings: Settings, store: Store, device: torch.device, progress: Progress) -> None:
    """Compute what is missing of `run` and finish it. Nothing is done when it is finished already.

    Raises errors of `app.errors`; what was finished by then is kept.
    """
    progress.check()
    record = store.record(run)
    if store.manifest(run) is not None:
        progress.log("the run is finished already; nothing is computed again")
        return
    drop_damaged(store, run, progress)
    with (
        memory.translated(record.request, settings, device, lambda: _estimate(record, settings)),
        guard.memory_limit(settings.memory_limit_mebibytes if device.type == "cpu" else 0),
        torch.no_grad(),
    ):
        Exploration(run, record, settings, store, device, progress).go()


def drop_damaged(store: Store, run: str, progress: Progress) -> None:
    """Make finished blocks with missing or altered files unfinished, so that they are computed again."""
    for layer in store.blocks_done(run):
        progress.check()
        damaged = store.verify_block(run, layer)
        if damaged:
            progress.log(f"block {layer} is computed again: {', '.join(damaged)} missing or altered")
            store.drop_block(run, layer)


@dataclass
class Exploration:
    """One attempt at a run."""

    run: str
    record: RunRecord
    settings: Settings
    store: Store
    device: torch.device
    progress: Progress

    def go(self) -> None:
        """From loading to the manifest."""
        started = time.monotonic()
        request = self.record.request
        self.progress.phase(f"loading {self.record.model.title}")
        model = load_model(self.record, self.settings, self.device)
        self.progress.phase(f"reading {self.record.corpus_title or request.corpus}")
        windows = token_windows(self.text(), model.tokenizer, request.tokens, request.window)
        try:
            reference = score_reference(len(windows.ids), request.pairs, request.seed)
        except NumericsFailure as failure:
            raise NumericsError(failure.detail, hint=failure.hint) from failure
        self.store.write_tokens(self.run, tokens_table(windows), self.facts(reference))
        self.progress.phase("embedding")
        stream = Stream.of(model.embed(windows.windows))
        setup = time.monotonic() - started
        self.blocks(model, stream, reference)
        self.progress.phase("writing the index")
        self.store.finish(self.run, seconds=setup, peak_bytes=guard.peak_bytes())
        own = devices.peak_bytes(self.device)
        beside = "" if own is None else f", {own / 2**20:,.0f} MiB on {self.device}"
        self.progress.log(
            f"finished in {time.monotonic() - started:.1f} s; peak memory {guard.peak_bytes() / 2**20:,.0f} MiB{beside}"
        )

    def text(self) -> str:
        """The corpus' text, once it is sure to be the one the run was made for. Raises CorpusError."""
        name = self.record.request.corpus
        _, text = catalog.corpus_text(name, self.settings, self.store.read_text)
        expected, found = self.record.corpus_fingerprint, catalog.corpus_fingerprint(text)
        if expected and found != expected:
            raise CorpusError(
                f"The text of '{name}' is not the one the run was made for: its fingerprint is {found}, not {expected}.",
                hint="Submit the request again: it becomes a run of its own.",
            )
        return text

    def facts(self, reference: ScoreReference) -> RunFacts:
        """What is known before the first block."""
        names = ("wasserscope", "torch", "transformers", "numpy", "scipy")
        return RunFacts(
            tokens=reference.tokens,
            pairs=len(reference.pairs.first),
            gaussian_floor=reference.gaussian_floor,
            device=str(self.device),
            versions={name: version(name) for name in names} | {"python": platform.python_version()},
        )

    def blocks(self, model: BlockModel, stream: Stream, reference: ScoreReference) -> None:
        """Every block that is missing."""
        done = set(self.store.blocks_done(self.run))
        if done:
            self.progress.log(f"{len(done)} of {self.record.model.blocks} blocks are finished already")
        at = 0  # the block whose input the stream holds
        for layer in range(self.record.model.blocks):
            if layer in done:
                continue
            if at != layer:
                self.replay(model, stream, layer - 1)
            self.block(model, stream, layer, reference)
            at = layer + 1
        self.tell(self.record.model.blocks, 0.0, 0)

    def replay(self, model: BlockModel, stream: Stream, layer: int) -> None:
        """Set the stream to the output of a finished block, from its stored inputs: bit-equal to what it was."""
        self.progress.phase(f"resuming after block {layer + 1}")
        stream.hidden = split_file(self.store.read_inputs(self.run, layer), stream.shapes, self.device)
        with model.block(layer) as block:
            stream.advance(block, self.progress)

    def block(self, model: BlockModel, stream: Stream, layer: int, reference: ScoreReference) -> None:
        """Run and score one block and write it; the stream becomes its output."""
        started = time.monotonic()
        self.progress.phase(f"scoring block {layer + 1} of {self.record.model.blocks}")
        self.tell(layer, 0.0, 0)  # a run that goes on does not stand at its beginning
        inputs = self.store.write_inputs(self.run, layer, file_parts(stream.hidden))
        with model.block(layer) as block:
            kept = Kept([Linear(p.projection, p.weight, p.bias) for p in block.projections()], reference)
            start = 0
            for i, batch in enumerate(stream.batches):
                with block.capture() as captured:
                    stream.hidden[i] = block.forward(stream.hidden[i], batch)
                kept.take(captured, start)
                tokens = stream.shapes[i].numel() // stream.shapes[i][-1]
                start += tokens
                self.tell(layer, RUNNING_SHARE * start / reference.tokens, tokens)
            tables, arrays = self.score(kept, layer)
        seconds = time.monotonic() - started
        self.store.write_block(self.run, layer, inputs, pa.concat_tables(tables), arrays, seconds)

    def score(
        self, kept: Kept, layer: int
    ) -> tuple[list[pa.Table], dict[str, dict[str, np.ndarray[Any, Any]]]]:
        """Tables and arrays of all projections of one block."""
        tables, arrays = [], {}
        neurons = sum(linear.projection.out_features for linear in kept.linears)
        before = 0
        for linear in kept.linears:

            def tell(done: int, before: int = before) -> None:
                self.tell(layer, RUNNING_SHARE + (1 - RUNNING_SHARE) * (before + done) / neurons, 0)

            table, found = score_linear(kept, linear, layer, self.settings.chunk_mebibytes * 2**20, tell)
            tables.append(table)
            arrays[linear.projection.name] = found
            before += linear.projection.out_features
        return tables, arrays

    def tell(self, layer: int, share: float, tokens: int) -> None:
        """Say how far the run is, `share` of this block included, and stop if it was cancelled."""
        blocks = self.record.model.blocks
        self.progress.advance((layer + share) / blocks, block=layer, blocks=blocks, tokens=tokens)
        self.progress.check()


def tokens_table(windows: TokenWindows) -> pa.Table:
    """The token stream as the store keeps it."""
    lengths = [len(window) for window in windows.windows]
    return pa.table(
        {
            "position": np.arange(len(windows.ids)),
            "window": np.repeat(np.arange(len(lengths)), lengths),
            "offset": np.concatenate([np.arange(length) for length in lengths]),
            "token": windows.ids.numpy(),
            "piece": windows.pieces,
        }
    )


def _estimate(record: RunRecord, settings: Settings) -> Estimate | None:
    """What the run was estimated to need; None when the model cannot be looked into any more."""
    request = record.request
    try:
        inspection = catalog.inspect_model(catalog.resolve(request.model, settings))
    except ModelError:
        return None
    return catalog.estimate(inspection, request.tokens, request.window, settings, 0.0, "")
