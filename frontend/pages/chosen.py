"""The pruning and the expansion that an address names: what they are, what they have done, and their jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict, TypeVar

from dash import html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import NotFound, WasserscopeError
from app.schemas.expansion import Expansion
from app.schemas.job import Job, JobState
from app.schemas.pruning import Pruning
from app.schemas.variant import LayerResult, VariantKind
from frontend import ids, paths
from frontend.components.common import card, link, note
from frontend.components.live import Wait, live_panel
from frontend.components.variants import (
    COLOURS,
    result_facts,
    uncompared_state,
    undone_state,
    unknown_variants,
    variant_bar,
)
from frontend.paths import Place

Made = TypeVar("Made", Pruning, Expansion)
ZEROS = (
    "Zeros are counted in the new weights. Alone they make nothing faster: that takes kernels made for them."
)
MOST = 200
"""Prunings and expansions offered, the newest first; older ones can still be named in the address."""


class Names(TypedDict):
    """Ids of what is chosen, as the client's calls take them."""

    pruning: str | None
    expansion: str | None


@dataclass(frozen=True)
class Chosen:
    """What there is to choose from in a run, and what is chosen."""

    run: str = ""
    prunings: Sequence[Pruning] = ()
    expansions: Sequence[Expansion] = ()
    pruning: Pruning | None = None
    expansion: Expansion | None = None
    unknown: dict[VariantKind, str] = field(default_factory=dict)
    """What the address names and the run does not have."""
    jobs: dict[str, Job] = field(default_factory=dict)
    """The newest job of each chosen variant."""

    @property
    def variants(self) -> list[Pruning | Expansion]:
        """What is chosen, the pruning first."""
        return [variant for variant in (self.pruning, self.expansion) if variant is not None]

    @property
    def kinds(self) -> set[VariantKind]:
        """What is chosen, as metrics need it."""
        return {kind_of(variant) for variant in self.variants}

    @property
    def names(self) -> Names:
        """Ids of what is chosen."""
        return {
            "pruning": self.pruning.id if self.pruning else None,
            "expansion": self.expansion.id if self.expansion else None,
        }

    @property
    def titles(self) -> dict[str, str]:
        """What is chosen, in words."""
        return {str(kind_of(variant)): f"{variant.title} ({variant.id})" for variant in self.variants}

    def undone(self, layer: int, projection: str) -> list[Pruning | Expansion]:
        """What is chosen and has not done this layer."""
        return [variant for variant in self.variants if result_of(variant, layer, projection) is None]

    def compared(self, layer: int, projection: str) -> Chosen:
        """Only what is chosen, has done this layer and compared its outputs: what can be shown of a neuron."""

        def usable(variant: Pruning | Expansion | None) -> bool:
            done = variant is not None and result_of(variant, layer, projection) is not None
            return done and variant is not None and variant.settings.compare

        return replace(
            self,
            pruning=self.pruning if usable(self.pruning) else None,
            expansion=self.expansion if usable(self.expansion) else None,
        )

    def at_work(self) -> list[Job]:
        """Jobs of what is chosen that have not ended."""
        return [job for job in self.jobs.values() if not job.state.final]

    def stopped(self) -> list[Job]:
        """Last jobs of what is chosen that ended without having done their work."""
        return [job for job in self.jobs.values() if job.state in {JobState.failed, JobState.cancelled}]


def kind_of(variant: Pruning | Expansion) -> VariantKind:
    """Pruning or expansion."""
    return VariantKind.pruning if isinstance(variant, Pruning) else VariantKind.expansion


def result_of(variant: Pruning | Expansion, layer: int, projection: str) -> LayerResult | None:
    """What a variant did to a layer; None when it has not."""
    return next((r for r in variant.layers if (r.layer, r.projection) == (layer, projection)), None)


def bar(chosen: Chosen) -> Component:
    """The selectors and buttons below a page's title."""
    more = (
        paths.with_query(
            paths.variants_path(chosen.run), {str(kind_of(one)): one.id for one in chosen.variants}
        )
        if chosen.run
        else None
    )
    return variant_bar(
        chosen.prunings, chosen.expansions, chosen.pruning, chosen.expansion, chosen.unknown, more
    )


def notices(chosen: Chosen, place: Place, jobs: Sequence[Job], waits: Sequence[Wait] = ()) -> list[Component]:
    """What stands between a page's title and its results: what is not there, and the jobs at work on it."""
    parts: list[Component] = []
    if chosen.unknown:
        kept: dict[str, str | None] = {**place.query, **{str(kind): None for kind in chosen.unknown}}
        without = link("Show the page without it", paths.with_query(place.path, kept))
        parts.append(unknown_variants(list(chosen.unknown.values()), without))
    return [*parts, *(live_panel(jobs, waits) if jobs else [])]


def at_layer(chosen: Chosen, place: Place) -> list[Component]:
    """The notices of a layer's or a neuron's page: jobs that ended without doing this layer are shown too."""
    undone = {variant.id for variant in chosen.undone(place.layer, place.projection)}
    jobs = [*chosen.at_work(), *(job for job in chosen.stopped() if job.subject in undone)]
    waits = [(place.run or "", name, place.layer, place.projection) for name in sorted(undone)]
    at_work = {job.subject for job in chosen.at_work()}
    return notices(chosen, place, jobs, [wait for wait in waits if wait[1] in at_work])


def results(chosen: Chosen, place: Place, lacking_only: bool = False) -> Component | None:
    """What each chosen variant did to a layer, or that it has not; nothing when there is none.

    lacking_only: only those that have nothing to show of a neuron.
    """
    at_work = {job.subject for job in chosen.at_work()}
    where = f"block {place.layer} {place.projection}"
    parts = []
    for variant in chosen.variants:
        result = result_of(variant, place.layer, place.projection)
        if result is None:
            parts.append(undone_state(variant, where, variant.id in at_work))
        elif not variant.settings.compare:
            parts.append(uncompared_state(variant))
        if result is not None and not lacking_only:
            parts.append(result_facts(variant.title, COLOURS[kind_of(variant)], result))
    if not parts:
        return None
    title = None if lacking_only else "What was done to this layer"
    return card(
        title, html.Div(parts, className="results"), None if lacking_only else note(ZEROS), id=ids.RESULTS
    )


async def load(client: AsyncClient, run: str, place: Place) -> Chosen:
    """What the query of `place` chooses. Jobs are left out where the queue does not answer."""
    prunings, expansions = await asyncio.gather(
        client.prunings(run, limit=MOST), client.expansions(run, limit=MOST)
    )
    wanted = {kind: place.query[kind] for kind in VariantKind if kind in place.query}
    pruning = next((p for p in prunings.items if p.id == wanted.get(VariantKind.pruning)), None)
    expansion = next((e for e in expansions.items if e.id == wanted.get(VariantKind.expansion)), None)
    if pruning is None and VariantKind.pruning in wanted and prunings.total > MOST:
        pruning = await _or_none(client.pruning(run, wanted[VariantKind.pruning]))
    if expansion is None and VariantKind.expansion in wanted and expansions.total > MOST:
        expansion = await _or_none(client.expansion(run, wanted[VariantKind.expansion]))
    known: list[Pruning | Expansion] = [variant for variant in (pruning, expansion) if variant is not None]
    return Chosen(
        run,
        prunings.items,
        expansions.items,
        pruning,
        expansion,
        {kind: name for kind, name in wanted.items() if name not in {variant.id for variant in known}},
        await _jobs(client, run, [variant.id for variant in known]),
    )


async def _or_none(asked: Awaitable[Made]) -> Made | None:
    try:
        return await asked
    except NotFound:
        return None


async def _jobs(client: AsyncClient, run: str, variants: Sequence[str]) -> dict[str, Job]:
    try:
        pages = await asyncio.gather(*(client.jobs(run=run, subject=name, limit=1) for name in variants))
    except WasserscopeError:
        return {}  # what is stored can be looked at without the queue
    return {name: page.items[0] for name, page in zip(variants, pages, strict=True) if page.items}
