"""The prune and expand jobs: change layers of a finished run's model, compare their outputs with the dense ones.

Layer by layer from the run's stored block inputs: blocks are independent, and several workers take some each. With
`propagate` the whole model in sequence, each block calibrated on what the changed blocks before it put out. Either way
a layer is written when it is done, and a job that is submitted again skips what the store has.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from app.schemas.expansion import ExpansionSettings
from app.schemas.pruning import PruningSettings
from app.schemas.variant import Coverage, LayerResult
from app.settings import Settings
from app.store import Store
from app.store.variants import LayerArtifacts, covered
from worker import device as devices
from worker.jobs import session as sessions
from worker.jobs import weights_file
from worker.jobs.behind import WriteBehind
from worker.jobs.comparing import Comparer, LayerEffects, compare
from worker.jobs.layer_inputs import Group, collect
from worker.jobs.live import live_progress
from worker.jobs.makers import Made, Maker, maker_of
from worker.jobs.session import Session
from worker.jobs.stream import Stream
from worker.models.block import Block
from worker.models.changes import Change
from worker.models.memo import Memo
from worker.progress import Progress

MAKING_SHARE = 0.6
"""Share of a block's time that goes into making; the rest is comparing. Only the progress bar rests on it."""

Todo = Mapping[int, list[str]]
"""Projections to change, by block."""


def prune(run: str, variant: str, todo: Mapping[str, list[str]] | None) -> None:
    """The queued prune job; `todo` by the block's number as text (JSON has no other keys), None when propagated."""
    _queued(run, variant, todo)


def expand(run: str, variant: str, todo: Mapping[str, list[str]] | None) -> None:
    """The queued expand job."""
    _queued(run, variant, todo)


def _queued(run: str, variant: str, todo: Mapping[str, list[str]] | None) -> None:
    settings = Settings()
    store = Store(settings.store)
    device = devices.prepare(settings)
    blocks = None if todo is None else {int(layer): names for layer, names in todo.items()}
    with live_progress(settings, store.id, str(device)) as progress:
        change_run(run, variant, blocks, settings, store, device, progress)


def change_run(
    run: str,
    variant: str,
    todo: Todo | None,
    settings: Settings,
    store: Store,
    device: torch.device,
    progress: Progress,
) -> None:
    """Make what is missing of a pruning or expansion: the layers `todo`, all of the model when it is None.

    Raises errors of `app.errors`; layers that are done by then are kept.
    """
    progress.check()
    record = store.variants.record(run, variant)
    left = store.variants.left(run, variant, covered(store, run, Coverage()) if todo is None else todo)
    if not left:
        progress.log("every layer is done already; nothing is computed again")
        return
    with sessions.guarded(store.record(run), settings, device):
        session = Session.open(run, settings, store, device, progress)
        VariantJob(session, variant, record.settings, maker_of(record.settings, run, store)).go(left)


@dataclass
class VariantJob:
    """One attempt at some layers of a variant."""

    session: Session
    variant: str
    settings: PruningSettings | ExpansionSettings
    maker: Maker
    writer: WriteBehind = field(default_factory=WriteBehind)

    def go(self, todo: Todo) -> None:
        """All layers of `todo`."""
        started = time.monotonic()
        with self.writer:
            if self.settings.propagate:
                self.propagate()
            else:
                for place, (layer, names) in enumerate(todo.items()):
                    self.progress.phase(f"{self.settings.title}: block {layer}")
                    self.local(place, len(todo), layer, names)
                self.tell(len(todo), len(todo), len(todo))
        self.progress.log(f"finished in {time.monotonic() - started:.1f} s")

    @property
    def progress(self) -> Progress:
        """Where the job tells how far it is."""
        return self.session.progress

    def local(self, place: int, places: int, layer: int, names: list[str]) -> None:
        """Some layers of one block, from the dense model's inputs."""
        stream = self.session.dense_inputs(layer)
        with self.session.model.block(layer) as block:
            groups = collect(block, stream, self.progress)
            wanted = [group for group in groups if set(group.names) & set(names)]
            for number, group in enumerate(wanted):
                started = time.monotonic()
                steps = _Steps(self, place, places, number, len(wanted))
                made = self.maker.make(layer, group, names, steps.making)
                for one in made:
                    effects = (
                        self.compared(layer, one, group.inputs, group.inputs, steps)
                        if self.compares
                        else None
                    )
                    self.write(layer, one, effects, (time.monotonic() - started) / len(made))

    def propagate(self) -> None:
        """The whole model: what is done already is run with its stored weights, the rest is made."""
        session, stream = self.session, self.session.fresh()
        done = session.store.variants.done(session.run, self.variant)
        names = [projection.name for projection in session.record.model.projections]
        for layer in range(session.blocks):
            self.progress.phase(f"{self.settings.title}: block {layer}")
            with session.model.block(layer) as block:
                if all((layer, name) in done for name in names):
                    stored = weights_file.changes(
                        session.store, session.run, self.variant, layer, session.device
                    )
                    with block.changed(stored):
                        stream.advance(block, self.progress)
                else:
                    self.propagated(block, stream, names)
            self.tell(layer + 1, session.blocks, layer + 1)

    def propagated(self, block: Block, stream: Stream, names: list[str]) -> None:
        """Make one block's changes from the stream; the stream becomes the changed block's output."""
        started, layer, made = time.monotonic(), block.layer, []
        memos = [Memo() for _ in stream.batches]
        groups = collect(block, stream, self.progress, memos=memos)
        for number, group in enumerate(groups):
            steps = _Steps(self, layer, self.session.blocks, number, len(groups))
            made += self.maker.make(layer, group, names, steps.making)
        del groups
        changes: dict[str, Change] = {one.linear.projection.name: one.change for one in made}
        if not self.compares:
            with block.changed(changes):
                stream.advance(block, self.progress, memos)
            for one in made:
                self.write(layer, one, None, (time.monotonic() - started) / len(made))
            return
        dense = _by_name(collect(block, self.session.dense_inputs(layer), self.progress))
        with block.changed(changes):
            actual = _by_name(collect(block, stream, self.progress, advance=True, memos=memos))
        for number, one in enumerate(made):
            name = one.linear.projection.name
            steps = _Steps(self, layer, self.session.blocks, number, len(made))
            effects = self.compared(layer, one, dense[name], actual[name], steps)
            self.write(layer, one, effects, (time.monotonic() - started) / len(made))

    @property
    def compares(self) -> bool:
        """Whether outputs are compared."""
        return self.settings.compare

    def compared(self, layer: int, made: Made, dense: Tensor, inputs: Tensor, steps: _Steps) -> LayerEffects:
        """One layer's outputs against the dense ones."""
        request = self.session.record.request
        chunk = self.session.settings.chunk_mebibytes * 2**20
        comparer = Comparer(chunk, request.pairs, request.seed, steps.comparing)
        bins = self.session.bins(layer, made.linear.projection.name)
        with sessions.numerics(f"Block {layer}, {made.linear.projection.name}"):
            return compare(made, dense, inputs, bins, comparer)

    def write(self, layer: int, made: Made, effects: LayerEffects | None, seconds: float) -> None:
        """Everything of one layer into the store, while the next is computed."""
        result = self.result(layer, made, effects, seconds)
        labels = made.labels.cpu().numpy() if made.labels is not None else None

        def write() -> None:
            artifacts = LayerArtifacts(
                weights=weights_file.encoded(made.change),
                neurons=effects.neurons if effects else None,
                counts=effects.counts if effects else None,
                expert_counts=effects.expert_counts if effects else None,
                expert_wd=effects.expert_wd if effects else None,
                labels=effects.labels if effects else labels,
            )
            self.session.store.variants.write_layer(self.session.run, self.variant, result, artifacts)

        error = f", relative error {result.relative_error:.3f}" if effects else ""
        raised = (
            f", damping raised to {made.damping:g}"
            if made.damping is not None and made.damping > self.settings.damping
            else ""
        )
        said = f"block {layer} {result.projection}: {100 * result.sparsity:.4g} % zeros{error}{raised}"
        self.writer.put(write, lambda: self.progress.log(said))

    def result(self, layer: int, made: Made, effects: LayerEffects | None, seconds: float) -> LayerResult:
        """What a layer came to, in numbers."""
        weights = made.linear.projection.in_features * made.linear.projection.out_features
        return LayerResult(
            layer=layer,
            projection=made.linear.projection.name,
            weights=weights,
            zeros=made.zeros,
            sparsity=made.zeros / (weights * made.experts),
            relative_error=effects.relative_error if effects else None,
            damping=made.damping,
            dead_inputs=made.dead_inputs,
            clusters=list(made.clusters),
            sets=dict(made.sets),
            seconds=seconds,
        )

    def tell(self, place: float, places: int, block: int) -> None:
        """Say how far the job is, and stop if it was cancelled."""
        self.progress.advance(place / places, block=block, blocks=places)
        self.progress.check()


@dataclass(frozen=True)
class _Steps:
    """Where in a job one group of layers stands."""

    job: VariantJob
    place: int
    places: int
    number: int
    count: int

    def making(self, share: float) -> None:
        self._tell(MAKING_SHARE * share if self.job.compares else share)

    def comparing(self, share: float) -> None:
        self._tell(MAKING_SHARE + (1 - MAKING_SHARE) * share)

    def _tell(self, share: float) -> None:
        self.job.tell(self.place + (self.number + share) / self.count, self.places, self.place)


def _by_name(groups: list[Group]) -> dict[str, Tensor]:
    """Inputs of each projection."""
    return {name: group.inputs for group in groups for name in group.names}
