"""What is made of a layer: pruned weights, or a router and experts. The only place where settings meet numerics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from app.schemas.expansion import Clusters, ExpansionSettings
from app.schemas.pruning import Criterion, Method, NeuronChoice, PruningSettings
from app.schemas.variant import Cluster, SparsitySettings
from app.store import Store
from worker.jobs.layer_inputs import Group
from worker.jobs.session import numerics
from worker.models.block import ProjectionWeight
from worker.models.changes import Change, Experts
from worker.numerics.controls import choose_neurons, other_neurons, random_clusters
from worker.numerics.expansion import ExpansionLimits, expand
from worker.numerics.hessian import hessian
from worker.numerics.pruning import prune, prune_rows
from worker.numerics.router import Router, fit_router
from worker.numerics.spec import Method as PruneMethod
from worker.numerics.spec import PruneSpec, zero_share


@dataclass(frozen=True)
class Made:
    """What became of one projection."""

    linear: ProjectionWeight
    change: Change
    zeros: int
    """In the new weights, over all experts."""
    damping: float | None = None
    dead_inputs: int = 0
    clusters: tuple[Cluster, ...] = ()
    labels: Tensor | None = None
    """(tokens,) int64: expert of each calibration token."""
    sets: tuple[tuple[str, float], ...] = ()

    @property
    def experts(self) -> int:
        """How many weights there are instead of one."""
        return max(1, len(self.clusters))


class Maker(Protocol):
    """Makes changes of projections that share their inputs."""

    def make(
        self, layer: int, group: Group, names: Sequence[str], tell: Callable[[float], None]
    ) -> list[Made]:
        """The changes of the projections `names` of a group; `tell(share done)` may raise to stop.

        Raises NumericsError that names block, projection and cluster.
        """


def spec_of(settings: SparsitySettings) -> PruneSpec:
    """The settings as numerics take them."""
    zeros, group = settings.zeros_in_group or (None, None)
    method = settings.method.value if isinstance(settings, PruningSettings) else Method.sparsegpt.value
    return PruneSpec(
        method=cast(PruneMethod, method),
        sparsity=settings.sparsity,
        zeros=zeros,
        group=group,
        per_row=settings.per_row,
        block=settings.block,
        damping=settings.damping,
        bits=settings.bits,
    )


class PruningMaker:
    """SparseGPT, Wanda or magnitude; of some neurons only, if so chosen."""

    def __init__(self, settings: PruningSettings, run: str, store: Store) -> None:
        self._settings, self._run, self._store = settings, run, store
        self._spec = spec_of(settings)

    def make(
        self, layer: int, group: Group, names: Sequence[str], tell: Callable[[float], None]
    ) -> list[Made]:
        """One Hessian for the group, one pruning a projection."""
        with numerics(f"Block {layer}, {' and '.join(group.names)}"):
            found = hessian(group.inputs)
        made = []
        for place, linear in enumerate(linears := _named(group, names)):
            name, choice = linear.projection.name, self._settings.neurons
            with numerics(f"Block {layer}"):
                if choice is None:
                    pruned = prune(linear.weight, found, self._spec, name)
                    sets: tuple[tuple[str, float], ...] = ()
                else:
                    rows = self._rows(layer, name, choice, linear.projection.out_features)
                    pruned = prune_rows(linear.weight, found, self._spec, rows, name)
                    rest = other_neurons(rows, linear.projection.out_features)
                    sets = (
                        ("pruned", zero_share(pruned.weight[rows])),
                        ("others", zero_share(pruned.weight[rest])),
                    )
            zeros = pruned.weight.numel() - int(torch.count_nonzero(pruned.weight))
            made.append(Made(linear, pruned.weight, zeros, pruned.damping, pruned.dead, sets=sets))
            tell((place + 1) / len(linears))
        return made

    def _rows(self, layer: int, projection: str, choice: NeuronChoice, neurons: int) -> Tensor:
        """The neurons that are pruned, (k,) int64."""
        values = None
        if choice.by is not Criterion.random:
            column = {"variance": "std"}.get(choice.by, choice.by.value)
            found = self._store.scores(self._run).columns(layer, projection, [column])[column]
            values = torch.tensor([float("nan") if v is None else v for v in found], dtype=torch.float64)
        chosen = choose_neurons(choice.by.value, choice.share, values, neurons=neurons, seed=choice.seed)
        return other_neurons(chosen, neurons) if choice.keep else chosen


class ExpansionMaker:
    """Sparse Expansion: one router for the group, one SparseGPT expert a cluster, all computed together."""

    def __init__(self, settings: ExpansionSettings, memory_bytes: int = 1 << 31) -> None:
        self._settings, self._memory = settings, memory_bytes
        self._spec = spec_of(settings)

    def make(
        self, layer: int, group: Group, names: Sequence[str], tell: Callable[[float], None]
    ) -> list[Made]:
        """Router, labels and experts. The router depends on the inputs alone, not on which projections are asked for."""
        settings, linears = self._settings, _named(group, names)
        where = f"block {layer}, {' and '.join(linear.projection.name for linear in linears)}"
        with numerics(f"Block {layer}"):
            router: Router = fit_router(group.inputs, settings.experts, settings.reduction, settings.seed)
            labels = router.assign(group.inputs)
            if settings.clusters is Clusters.random:
                sizes = torch.bincount(labels, minlength=settings.experts).tolist()
                router, labels = random_clusters(sizes, settings.seed)
                labels = labels.to(group.inputs.device)
            expansion = expand(
                [linear.weight for linear in linears],
                group.inputs,
                router,
                self._spec,
                labels=labels,
                name=where,
                limits=ExpansionLimits(self._memory, tell),
            )
        clusters = tuple(
            Cluster(expert=expert, tokens=size, own_share=share, damping=damping)
            for expert, (size, share, damping) in enumerate(
                zip(expansion.sizes, expansion.own_share, expansion.damping, strict=True)
            )
        )
        return [
            Made(
                linear,
                Experts(router, weights),
                weights.numel() - int(torch.count_nonzero(weights)),
                max(expansion.damping),
                clusters=clusters,
                labels=labels,
            )
            for linear, weights in zip(linears, expansion.weights, strict=True)
        ]


def maker_of(settings: PruningSettings | ExpansionSettings, run: str, store: Store) -> Maker:
    """The maker for these settings."""
    if isinstance(settings, PruningSettings):
        return PruningMaker(settings, run, store)
    return ExpansionMaker(settings)


def _named(group: Group, names: Sequence[str]) -> list[ProjectionWeight]:
    return [linear for linear in group.linears if linear.projection.name in names]
