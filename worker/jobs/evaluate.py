"""The evaluate job: perplexity on held-out text of the dense model and of a run's variants.

All models go through the blocks together: a block's dense weights are loaded once, and each variant's are put in their
place in turn. Up to its first changed block a variant is the dense model, and goes through with it.
Memory: one block with one variant's weights, and (tokens, d_model) hidden states of every model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from app import catalog
from app.schemas.evaluation import EvaluationRequest, PerplexityResult
from app.settings import Settings
from app.store import Store
from app.store.manifest import RunRecord
from worker import device as devices
from worker.corpora import TokenWindows, end_windows
from worker.jobs import session as sessions
from worker.jobs import weights_file
from worker.jobs.live import live_progress
from worker.jobs.session import load_model
from worker.jobs.stream import Stream
from worker.models import BlockModel
from worker.numerics.perplexity import perplexity
from worker.progress import Progress


def evaluate(run: str, evaluation: str) -> None:
    """The queued job."""
    settings = Settings()
    store = Store(settings.store)
    device = devices.prepare(settings)
    with live_progress(settings, store.id, str(device)) as progress:
        evaluate_run(run, evaluation, settings, store, device, progress)


def evaluate_run(
    run: str, evaluation: str, settings: Settings, store: Store, device: torch.device, progress: Progress
) -> None:
    """Compute an evaluation and write its results. Raises errors of `app.errors`."""
    progress.check()
    asked = store.evaluations.get(run, evaluation)
    if asked.finished:
        progress.log("the evaluation is finished already; nothing is computed again")
        return
    record = store.record(run)
    with sessions.guarded(record, settings, device):
        Evaluating(run, evaluation, asked.request, record, settings, store, device, progress).go()


@dataclass
class Evaluating:
    """One attempt at an evaluation."""

    run: str
    evaluation: str
    request: EvaluationRequest
    record: RunRecord
    settings: Settings
    store: Store
    device: torch.device
    progress: Progress
    passes: int = 0
    """Blocks that were run so far, of all models."""

    def go(self) -> None:
        """From loading to the results."""
        started = time.monotonic()
        self.progress.phase(f"loading {self.record.model.title}")
        model = load_model(self.record, self.settings, self.device)
        model.check_losses()
        self.progress.phase("reading the held-out text")
        windows = self.windows(model)
        self.progress.phase("embedding")
        start = Stream.of(model.embed(windows.windows))
        blocks = self.record.model.blocks
        first = {variant: self.first_changed(variant) for variant in self.request.variants}
        whole = blocks + sum(blocks - layer for layer in first.values())
        streams: dict[str | None, Stream] = {None: start}
        for layer in range(blocks):
            self.progress.phase(f"block {layer + 1} of {blocks}")
            for variant in [variant for variant in first if first[variant] == layer]:
                streams[variant] = start.at(list(start.hidden))
            self.block(model, layer, streams, whole)
        self.progress.phase("reading off the losses")
        results = [
            self.result(model, variant, streams.get(variant, start))
            for variant in (None, *self.request.variants)
        ]
        self.store.evaluations.finish(
            self.run,
            self.evaluation,
            results,
            tokens=sum(max(0, len(window) - 1) for window in windows.windows),
            windows=len(windows.windows),
            seconds=time.monotonic() - started,
        )
        for result in results:
            self.progress.log(
                f"{result.title}: perplexity {result.perplexity:.4g} ({result.low:.4g} to {result.high:.4g})"
            )

    def windows(self, model: BlockModel) -> TokenWindows:
        """The held-out windows; never text that the run was calibrated on. Raises CorpusError."""
        own = self.record.request.corpus
        name = self.request.corpus or own
        _, text = catalog.corpus_text(name, self.settings, self.store.read_text)
        same = name == own or catalog.corpus_fingerprint(text) == self.record.corpus_fingerprint
        after = self.record.request.tokens if same else 0
        return end_windows(text, model.tokenizer, self.request.tokens, self.request.window, after=after)

    def first_changed(self, variant: str) -> int:
        """The first block where a variant is not the dense model; the number of blocks if it is so nowhere."""
        results = self.store.variants.results(self.run, variant)
        return min((result.layer for result in results), default=self.record.model.blocks)

    def block(self, model: BlockModel, layer: int, streams: dict[str | None, Stream], whole: int) -> None:
        """Run one block of every model that has a stream of its own; all of them have `whole` blocks to run."""
        blocks = self.record.model.blocks
        with model.block(layer) as block:
            for variant, stream in streams.items():
                if variant is None:
                    stream.advance(block, self.progress)
                else:
                    found = weights_file.changes(self.store, self.run, variant, layer, self.device)
                    with block.changed(found):
                        stream.advance(block, self.progress)
                self.passes += 1
                self.progress.advance(self.passes / whole, block=layer, blocks=blocks, tokens=stream.tokens)

    def result(self, model: BlockModel, variant: str | None, stream: Stream) -> PerplexityResult:
        """Perplexity of one model from its last block's output."""
        losses: list[float] = []
        counts: list[int] = []
        for hidden, batch in zip(stream.hidden, stream.batches, strict=True):
            self.progress.check()
            found, count = model.losses(hidden, batch)
            losses += found.tolist()
            counts += [count] * len(found)
        title = "dense" if variant is None else self.store.variants.record(self.run, variant).settings.title
        with sessions.numerics(title):
            measured = perplexity(losses, counts, self.request.seed)
        layers = [] if variant is None else self.store.variants.results(self.run, variant)
        model_weights = sum(p.in_features * p.out_features for p in self.record.model.projections)
        whole = model_weights * self.record.model.blocks
        return PerplexityResult(
            variant=variant,
            title=title,
            perplexity=measured.value,
            low=measured.low,
            high=measured.high,
            ffn_sparsity=sum(result.sparsity * result.weights for result in layers) / whole,
            layers=len(layers),
        )
