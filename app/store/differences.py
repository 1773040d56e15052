"""Two runs with the same layers, neuron by neuron: whose WD and whose rank changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import Conflict
from app.schemas.difference import DifferenceQuery, NeuronDifference
from app.schemas.page import Page
from app.schemas.run import RunModel
from app.store.cache import Cache
from app.store.records import Records
from app.store.scores import Scores

COLUMNS = ("layer", "place", "index", "wd", "rank_layer")


@dataclass(frozen=True)
class Pair:
    """All neurons of two runs, in the order of layer, projection and index."""

    names: list[str]
    """Projections, by place."""
    sizes: dict[tuple[int, str], int]
    columns: dict[str, NDArray[Any]]


class Differences:
    """Differences between finished runs, kept for the next page of the same two."""

    def __init__(self, records: Records, scores: Callable[[str], Scores]) -> None:
        self._runs, self._scores = records, scores
        self._pairs: Cache[Pair] = Cache(4)
        self._orders: Cache[NDArray[np.int64]] = Cache(16)

    def page(self, run: str, query: DifferenceQuery) -> Page[NeuronDifference]:
        """Some neurons. Raises NotFound for runs that are not there, Conflict for such that do not compare."""
        self._check(run, query.other)
        pair = self._pairs.get((run, query.other), lambda: self._pair(run, query.other))
        order = self._orders.get((run, query.other, query.sort), lambda: _order(pair, query.sort))
        wanted = np.ones(len(order), dtype=bool)
        if query.layer is not None:
            wanted &= pair.columns["layer"][order] == query.layer
        if query.projection is not None:
            places = [place for place, name in enumerate(pair.names) if name == query.projection]
            wanted &= np.isin(pair.columns["place"][order], places)
        found = order[wanted]
        rows = found[query.offset : query.offset + query.limit].tolist()
        return Page(
            items=[_row(pair, row) for row in rows],
            total=len(found),
            limit=query.limit,
            offset=query.offset,
        )

    def forget(self, run: str) -> None:
        """Drop what is cached; of any pair, for a run can be either of it."""
        self._pairs, self._orders = Cache(4), Cache(16)

    def _check(self, run: str, other: str) -> None:
        for name in (run, other):
            if self._runs.record(name) and self._runs.manifest(name) is None:
                raise Conflict(
                    f"Run '{name}' is not finished: its ranks still change.",
                    hint="Wait for its job, or submit it again to go on; then compare.",
                )
        apart = differing(self._runs.record(run).model, self._runs.record(other).model)
        if apart:
            raise Conflict(
                f"'{run}' and '{other}' cannot be compared neuron by neuron: {'; '.join(apart)}.",
                hint="Compare runs of models with the same layers. WD by depth and single neurons or layers still compare.",
            )

    def _pair(self, run: str, other: str) -> Pair:
        scores = self._scores(run)
        own, others = scores.whole(COLUMNS), self._scores(other).whole(COLUMNS)
        columns = {name: own[name].to_numpy(zero_copy_only=False) for name in COLUMNS}
        columns["rank"] = columns.pop("rank_layer")
        columns["other_wd"] = others["wd"].to_numpy(zero_copy_only=False)
        columns["other_rank"] = others["rank_layer"].to_numpy(zero_copy_only=False)
        columns["difference"] = columns["wd"] - columns["other_wd"]
        columns["moved"] = columns["other_rank"].astype(np.int64) - columns["rank"]
        columns["distance"] = np.abs(columns["moved"])
        names = [projection.name for projection in self._runs.record(run).model.projections]
        return Pair(names, scores.sizes, columns)


def differing(one: RunModel, other: RunModel) -> list[str]:
    """What keeps two models' neurons from being compared one by one, in words; empty when nothing does."""
    found = []
    if one.blocks != other.blocks:
        found.append(f"{one.blocks} blocks against {other.blocks}")
    own = {p.name: p.out_features for p in one.projections}
    others = {p.name: p.out_features for p in other.projections}
    if list(own) != list(others):
        found.append(f"projections {', '.join(own)} against {', '.join(others)}")
    found += [
        f"{name} has {size:,} neurons against {others[name]:,}"
        for name, size in own.items()
        if name in others and others[name] != size
    ]
    return found


def _order(pair: Pair, sort: str) -> NDArray[np.int64]:
    """Positions by one column, what has no value last, ties in the runs' own order."""
    values = pair.columns[sort.lstrip("-")].astype(np.float64)
    keys = -values if sort.startswith("-") else values
    return np.argsort(np.where(np.isnan(keys), np.inf, keys), kind="stable")


def _row(pair: Pair, row: int) -> NeuronDifference:
    values = {name: column[row].item() for name, column in pair.columns.items() if name != "place"}
    layer, projection = values["layer"], pair.names[pair.columns["place"][row]]
    known = {name: None if value != value else value for name, value in values.items()}
    return NeuronDifference(**known, projection=projection, layer_neurons=pair.sizes[layer, projection])
