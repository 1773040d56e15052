"""The sweep job: one layer of a finished run at many sparsities and with several numbers of experts.

What does not depend on the sparsity is found once: the layer's inputs, its Hessian and that of each cluster, their
factors, and for each number of experts the router. Points are made in batches (`app.catalog.batches`) that are compared
together: a chunk of neurons' dense outputs is computed and sorted once for all of a batch. A point is stored as soon as
it is compared; a job that is submitted again makes the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from app import catalog
from app.catalog.estimate_sweep import KEEP_BYTES, Point
from app.catalog.estimate_variant import WORK_BYTES
from app.schemas.expansion import ExpansionSettings
from app.schemas.sweep import SweepPointResult, SweepRequest, points_of, settings_of
from app.settings import Settings
from app.store import Store
from app.store.sweeps import NUMBERS, PointArtifacts
from worker import device as devices
from worker.jobs import session as sessions
from worker.jobs.comparing import expert_outputs, linear_outputs, neuron_chunks
from worker.jobs.layer_inputs import Group, collect
from worker.jobs.live import live_progress
from worker.jobs.makers import spec_of
from worker.jobs.session import Session
from worker.models.block import ProjectionWeight
from worker.numerics.bins import SharedBins
from worker.numerics.effects import Comparison, compare_outputs, joined
from worker.numerics.expansion import ClusteredLayer, ExpansionLimits, Segments
from worker.numerics.hessian import Factors, Hessian, factorise, hessian
from worker.numerics.pruning import prune
from worker.numerics.router import fit_router
from worker.numerics.sorting import sorted_rows
from worker.numerics.spec import zero_share
from worker.progress import Progress

MAKING_SHARE = 0.4
"""Share of a batch's time that goes into making; the rest is comparing. Only the progress bar rests on it."""


def sweep(run: str, sweep: str) -> None:
    """The queued sweep job."""
    settings = Settings()
    store = Store(settings.store)
    device = devices.prepare(settings)
    with live_progress(settings, store.id, str(device)) as progress:
        sweep_layer(run, sweep, settings, store, device, progress)


def sweep_layer(
    run: str, sweep: str, settings: Settings, store: Store, device: torch.device, progress: Progress
) -> None:
    """Make what is missing of a sweep. Raises errors of `app.errors`; points that are done by then are kept."""
    progress.check()
    started, request = time.monotonic(), store.sweeps.record(run, sweep).request
    if store.sweeps.manifest(run, sweep) is not None:
        progress.log("every point is done already; nothing is computed again")
        return
    with sessions.guarded(store.record(run), settings, device):
        if len(store.sweeps.done(run, sweep)) < len(points_of(request)):
            session = Session.open(run, settings, store, device, progress)
            SweepJob(session, sweep, request).go()
        progress.phase("writing")
        store.sweeps.finish(run, sweep, time.monotonic() - started)
    progress.log(f"finished in {time.monotonic() - started:.1f} s")


@dataclass(frozen=True)
class MadePoint:
    """The layer's new weights at one point."""

    weights: Tensor
    """(experts, out, in), in the model's dtype; one for SparseGPT."""
    parts: Segments | None
    """Tokens by expert; None for SparseGPT."""
    damping: float | None
    unchanged: bool
    """Nothing was asked to go: the outputs are the dense ones, to the last bit."""


class LayerPoints:
    """Makes points of one projection, given its inputs."""

    def __init__(self, linear: ProjectionWeight, inputs: Tensor, name: str) -> None:
        self._linear, self._inputs, self._name = linear, inputs, name
        self._hessian: Hessian | None = None
        self._factors: dict[float, Factors] = {}
        self._principal: dict[int, tuple[Tensor, Tensor]] = {}
        self._clustered: tuple[tuple[int, int, int], ClusteredLayer] | None = None

    def make(self, point: Point, tell: Callable[[float], None]) -> MadePoint:
        """The weights of `point`; `tell(share done)` may raise to stop. Raises NumericsFailure."""
        exact = point.target in (0.0, 1.0)
        spec = spec_of(point)
        if isinstance(point, ExpansionSettings):
            layer = self._layer(point)
            found = layer.expand(spec, ExpansionLimits(WORK_BYTES, tell))
            damping = None if exact else max(found.damping)
            return MadePoint(found.weights[0], layer.parts, damping, point.target == 0.0)
        self._hessian = self._hessian or hessian(self._inputs)
        if not exact and spec.damping not in self._factors:
            matrices = self._hessian.matrix.unsqueeze(0)
            self._factors[spec.damping] = factorise(matrices, spec.damping, [self._name])
        factors = self._factors.get(spec.damping)
        pruned = prune(self._linear.weight, self._hessian, spec, self._name, factors)
        return MadePoint(pruned.weight.unsqueeze(0), None, pruned.damping, point.target == 0.0)

    def _layer(self, point: ExpansionSettings) -> ClusteredLayer:
        """The inputs dealt to as many experts, of which one layer at a time is kept; PCA is done once for all."""
        key = (point.experts, point.reduction, point.seed)
        if self._clustered is None or self._clustered[0] != key:
            self._clustered = None  # first let go of the last one
            router = fit_router(
                self._inputs,
                point.experts,
                point.reduction,
                point.seed,
                self._principal.get(point.reduction),
            )
            self._principal[point.reduction] = (router.mean, router.components)
            layer = ClusteredLayer(
                [self._linear.weight], self._inputs, router, name=self._name, keep_bytes=KEEP_BYTES
            )
            self._clustered = (key, layer)
        return self._clustered[1]


def compare_points(
    linear: ProjectionWeight,
    inputs: Tensor,
    made: Sequence[MadePoint],
    bins: SharedBins,
    chunk_bytes: int,
    tell: Callable[[float], None],
) -> list[Comparison]:
    """Outputs of points that share their tokens' experts against the dense ones, for (tokens, in) inputs."""
    columns, parts = inputs.float().T, made[0].parts
    ordered = None if parts is None else inputs.float()[parts.order.to(inputs.device)]
    found: list[list[Comparison]] = [[] for _ in made]
    neurons = linear.projection.out_features
    for here in neuron_chunks(neurons, len(inputs), chunk_bytes):
        dense = linear_outputs(linear.weight, linear.bias, columns, here)
        dense_ordered, own = sorted_rows(dense), bins.rows(here)
        for place, point in enumerate(made):
            if point.unchanged:
                changed = dense
            elif parts is None or ordered is None:
                changed = linear_outputs(point.weights[0], linear.bias, columns, here)
            else:
                changed = expert_outputs(point.weights, linear.bias, ordered, parts, here)
            found[place].append(compare_outputs(dense, changed, own, ordered=dense_ordered))
            tell((here.start + (here.stop - here.start) * (place + 1) / len(made)) / neurons)
    return [joined(chunks) for chunks in found]


@dataclass
class SweepJob:
    """One attempt at a sweep."""

    session: Session
    sweep: str
    request: SweepRequest

    def go(self) -> None:
        """All points that are missing."""
        session, request = self.session, self.request
        stream = session.dense_inputs(request.layer)
        session.progress.phase(f"inputs of block {request.layer}")
        with session.model.block(request.layer) as block:
            group, linear = self._chosen(collect(block, stream, session.progress))
            del stream
            bins = session.bins(request.layer, request.projection)
            where = f"Block {request.layer}, {request.projection}"
            maker = LayerPoints(linear, group.inputs, request.projection)
            for first, batch in self._batches(linear):
                with sessions.numerics(where):
                    self._batch(first, batch, maker, linear, group.inputs, bins)

    def _chosen(self, groups: Sequence[Group]) -> tuple[Group, ProjectionWeight]:
        """The projection and its inputs; those of the others are let go."""
        return next(
            (group, linear)
            for group in groups
            for linear in group.linears
            if linear.projection.name == self.request.projection
        )

    def _batches(self, linear: ProjectionWeight) -> Iterator[tuple[int, list[tuple[int, Point]]]]:
        """How many points are done before, and the numbered points of each batch."""
        done = self.session.store.sweeps.done(self.session.run, self.sweep)
        missing = [(n, point) for n, point in enumerate(settings_of(self.request)) if n not in done]
        numbered = iter(missing)
        before = len(done)
        for batch in catalog.batches([point for _, point in missing], linear.weight.nbytes):
            yield before, [next(numbered) for _ in batch]
            before += len(batch)

    def _batch(
        self,
        before: int,
        batch: Sequence[tuple[int, Point]],
        maker: LayerPoints,
        linear: ProjectionWeight,
        inputs: Tensor,
        bins: SharedBins,
    ) -> None:
        """Make the points of a batch, compare them together, write each."""
        session, points = self.session, points_of(self.request)
        made = []
        for place, (number, settings) in enumerate(batch):
            session.progress.phase(f"making {points[number].title}")

            def making(share: float, place: int = place) -> None:
                self._tell(before + MAKING_SHARE * (place + share))

            made.append(maker.make(settings, making))
            making(1.0)
        names = [points[number].title for number, _ in batch]
        several = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        session.progress.phase(f"comparing {several}")

        def comparing(share: float) -> None:
            self._tell(before + len(batch) * (MAKING_SHARE + (1 - MAKING_SHARE) * share))

        chunk = session.settings.chunk_mebibytes * 2**20
        found = compare_points(linear, inputs, made, bins, chunk, comparing)
        for (number, _), one, comparison in zip(batch, made, found, strict=True):
            self._write(number, one, comparison)

    def _write(self, number: int, made: MadePoint, found: Comparison) -> None:
        point = points_of(self.request)[number]
        error = found.relative_error
        result = SweepPointResult(
            **point.model_dump(),
            zero_share=zero_share(made.weights),
            relative_error=error if isfinite(error) else None,
            damping=made.damping,
        )
        numbers = np.stack([getattr(found, name).numpy() for name in NUMBERS], axis=1)
        artifacts = PointArtifacts(result, numbers, found.counts.numpy())
        self.session.store.sweeps.write_point(self.session.run, self.sweep, number, artifacts)
        self.session.progress.log(
            f"{point.title}: {100 * result.zero_share:.4g} % zeros, relative error {error:.3g}"
        )

    def _tell(self, done: float) -> None:
        self.session.progress.advance(done / len(points_of(self.request)))
        self.session.progress.check()
