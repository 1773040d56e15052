"""The map of a run, or of a part of it: each layer's neurons ranked by a metric and averaged in bins of neighbours.

Values are those of the whole run, ordered by layer, projection and index; each layer is a slice of them. A part is some
blocks and some ranks: it is binned anew, so that a small one has a cell per neuron.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.errors import InvalidRequest
from app.schemas.layer import MAP_BINS, MOST_CELLS, MapQuery, MapRow, RunMap

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LayerRows:
    """Where a layer's neurons lie in the run's."""

    layer: int
    projection: str
    start: int
    stop: int

    @property
    def neurons(self) -> int:
        """How many they are."""
        return self.stop - self.start


def run_map(query: MapQuery, values: Array, rows: Sequence[LayerRows]) -> RunMap:
    """The map that `query` asks for, of the metric's `values` (neurons of the run,), nan where there is none.

    No more bins than the widest layer has ranks; a narrower one is stretched, so that all rows are as long. Raises
    InvalidRequest for a part that holds nothing and for more than MOST_CELLS cells.
    """
    parts = _parts(query, rows)
    widest = max((last - first + 1 for _, first, last in parts), default=0)
    asked = query.bins or max(1, min(MAP_BINS, MOST_CELLS // max(1, len(parts))))
    bins = min(asked, widest)
    if bins * len(parts) > MOST_CELLS:
        raise InvalidRequest(
            f"{len(parts):,} layers of {bins:,} bins are {bins * len(parts):,} cells; at most {MOST_CELLS:,} come at once.",
            hint=f"Ask for at most {MOST_CELLS // len(parts):,} bins, leave bins out, or ask for a part: projection, "
            "first_layer and last_layer, first_rank and last_rank.",
        )
    found = [_row(part, values[part.start : part.stop], first, last, bins) for part, first, last in parts]
    known = [value for row in found for value in row.values if value is not None]
    return RunMap(
        metric=query.metric,
        bins=bins,
        rows=found,
        minimum=min(known, default=None),
        maximum=max(known, default=None),
    )


def _parts(query: MapQuery, rows: Sequence[LayerRows]) -> list[tuple[LayerRows, int, int]]:
    """The layers asked for, with the first and last rank of each; those without a rank in the range are left out."""
    for low, high, what in (
        (query.first_layer, query.last_layer, "layer"),
        (query.first_rank, query.last_rank, "rank"),
    ):
        if high is not None and low > high:
            raise InvalidRequest(
                f"first_{what} is {low} and last_{what} is {high}.", hint="Ask for the lower one first."
            )
    inside = [
        row
        for row in rows
        if row.layer >= query.first_layer
        and (query.last_layer is None or row.layer <= query.last_layer)
        and query.projection in (None, row.projection)
    ]
    if rows and not inside and (query.first_layer or query.last_layer is not None):
        raise InvalidRequest(
            f"No block from {query.first_layer} on is there."
            if query.last_layer is None
            else f"No block from {query.first_layer} to {query.last_layer} is there.",
            hint=f"Blocks go from 0 to {max(row.layer for row in rows)}; see the run's layers for projections.",
        )
    widest = max((row.neurons for row in inside), default=0)
    if inside and query.first_rank > widest:
        raise InvalidRequest(
            f"No layer has a rank {query.first_rank:,}.", hint=f"Ranks go from 1 to {widest:,} here."
        )
    return [
        (row, query.first_rank, min(query.last_rank or row.neurons, row.neurons))
        for row in inside
        if row.neurons >= query.first_rank
    ]


def _row(part: LayerRows, values: Array, first: int, last: int, bins: int) -> MapRow:
    order = np.argsort(-values, kind="stable")[first - 1 : last]  # nan last, ties by index
    means, leaders = binned(values[order], bins)
    return MapRow(
        layer=part.layer,
        projection=part.projection,
        neurons=part.neurons,
        first_rank=first,
        last_rank=last,
        values=[None if np.isnan(value) else value for value in means.tolist()],
        leaders=order[leaders].tolist(),
    )


def binned(values: Array, bins: int) -> tuple[Array, Array]:
    """Mean of each of `bins` slices (nan where nothing is known) and the position each starts at."""
    count = len(values)
    start = np.arange(bins) * count // bins
    stop = np.maximum((np.arange(bins) + 1) * count // bins, start + 1)
    known = ~np.isnan(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    number = np.concatenate([[0], np.cumsum(known)])
    n = number[stop] - number[start]
    means = np.where(n > 0, (total[stop] - total[start]) / np.maximum(n, 1), np.nan)
    return means, start
