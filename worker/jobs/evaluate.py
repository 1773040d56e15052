"""The evaluate job: perplexity on held-out text of the dense model and of a run's variants.

All models go through the blocks together: a block's dense weights are loaded once, and each variant's are put in their
place in turn. Memory: one block with one variant's weights, and (tokens, d_model) hidden states of every model.
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
        variants: list[str | None] = [None, *self.request.variants]
        streams = [start.at(list(start.hidden)) for _ in variants]
        for layer in range(self.record.model.blocks):
            self.progress.phase(f"block {layer + 1} of {self.record.model.blocks}")
            self.block(model, layer, variants, streams)
        self.progress.phase("reading off the losses")
        results = [
            self.result(model, variant, stream) for variant, stream in zip(variants, streams, strict=True)
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

    def block(self, model: BlockModel, layer: int, variants: list[str | None], streams: list[Stream]) -> None:
        """Run one block of every model."""
        blocks = self.record.model.blocks
        with model.block(layer) as block:
            for place, (variant, stream) in enumerate(zip(variants, streams, strict=True)):
                if variant is None:
                    stream.advance(block, self.progress)
                else:
                    found = weights_file.changes(self.store, self.run, variant, layer, self.device)
                    with block.changed(found):
                        stream.advance(block, self.progress)
                share = (layer + (place + 1) / len(variants)) / blocks
                self.progress.advance(share, block=layer, blocks=blocks, tokens=stream.tokens)

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
