"""The scores of a run as one table: its columns, its ranks, and the questions asked of it.

A run's table lives in an in-memory DuckDB database; each question runs on a cursor of its own, so threads do not meet.
Ranks are by WD, from 1, constants last, ties by layer, projection and index: the order is total and repeatable.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from app.schemas.layer import LayerSummary, MapQuery, Metric, RunMap
from app.schemas.neuron import CONDITION_PATTERN, NeuronQuery
from app.store.cache import Cache
from app.store.maps import LayerRows, run_map

SCHEMA = pa.schema(
    [
        ("layer", pa.int32()),
        ("projection", pa.string()),
        ("index", pa.int32()),
        ("wd", pa.float64()),
        ("md", pa.float64()),
        ("mean", pa.float64()),
        ("std", pa.float64()),
        ("skew", pa.float64()),
        ("kurtosis", pa.float64()),
        ("entropy", pa.float64()),
        ("mean_abs_weight", pa.float64()),
        ("weight_norm", pa.float64()),
        ("zero_share", pa.float64()),
        ("constant", pa.bool_()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)
"""One row per neuron of a block's `scores.parquet`; null where a constant neuron has no such score."""

ROW_COLUMNS = [name for name in SCHEMA.names if name not in {"low", "high"}] + [
    "wasserstein",
    "rank_layer",
    "rank_model",
]
"""The columns of a `NeuronRow`, in the order of an export."""

EFFECT_COLUMNS = [metric.value for metric in Metric if metric.needs]
"""Columns of what variants did to neurons (`NeuronEffects`); in a table only when variants are joined to it."""

_ORDER = 'layer, place, "index"'


def ranked(table: pa.Table, projections: Sequence[str], top_share: float) -> pa.Table:
    """`table` ordered by layer, projection and index, with `place`, `rank_layer`, `rank_model` and `wasserstein`.

    A layer's Wasserstein neurons are its `round(top_share * neurons)` first by rank, at least one, constants never.
    """
    place_of = {name: place for place, name in enumerate(projections)}
    place = np.array([place_of[name] for name in table["projection"].to_pylist()], dtype=np.int16)
    layer, index = table["layer"].to_numpy(), table["index"].to_numpy()
    order = np.lexsort((index, place, layer))
    table, place, layer = table.take(pa.array(order)), place[order], layer[order]
    wd = table["wd"].to_numpy(zero_copy_only=False)
    by_wd = np.lexsort((np.arange(len(wd)), np.where(np.isnan(wd), np.inf, -wd)))
    rank_model = np.empty(len(wd), dtype=np.int64)
    rank_model[by_wd] = np.arange(1, len(wd) + 1)
    rank_layer = np.empty(len(wd), dtype=np.int32)
    wasserstein = np.zeros(len(wd), dtype=bool)
    for start, stop in groups(layer, place):
        within = np.argsort(rank_model[start:stop], kind="stable")
        rank_layer[start:stop][within] = np.arange(1, stop - start + 1)
        top = max(1, round(top_share * (stop - start)))
        wasserstein[start:stop] = (rank_layer[start:stop] <= top) & ~np.isnan(wd[start:stop])
    for name, values in (
        ("place", place),
        ("rank_layer", rank_layer),
        ("rank_model", rank_model),
        ("wasserstein", wasserstein),
    ):
        table = table.append_column(name, pa.array(values))
    return table


class Scores:
    """Questions to the ranked table of one run."""

    def __init__(self, table: pa.Table) -> None:
        self.neurons: int = table.num_rows
        # Unsorted questions are answered in the table's order: `_column` rests on it.
        self._connection: Any = duckdb.connect(
            ":memory:", config={"threads": 2, "preserve_insertion_order": True}
        )
        self._connection.register("incoming", table)
        self._connection.execute("create table scores as select * from incoming")
        self._connection.unregister("incoming")
        self._shown = ROW_COLUMNS + [name for name in EFFECT_COLUMNS if name in table.column_names]
        layers, names = table["layer"].to_numpy(), table["projection"]
        self._rows = [
            LayerRows(int(layers[start]), names[start].as_py(), start, stop)
            for start, stop in groups(layers, table["place"].to_numpy())
        ]
        self.sizes = {(rows.layer, rows.projection): rows.neurons for rows in self._rows}
        """Neurons of each (layer, projection)."""
        self._summaries: Cache[list[LayerSummary]] = Cache(4)
        self._values: Cache[np.ndarray[Any, Any]] = Cache(8)
        self._maps: Cache[RunMap] = Cache(32)

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        cursor = self._connection.cursor()
        try:
            return cursor.sql(sql, params=list(values)).to_arrow_table()
        finally:
            cursor.close()

    def page(self, query: NeuronQuery) -> pa.Table:
        """Rows that match, sorted, `limit` of them from `offset` on."""
        where, values = _where(query)
        name, down = query.sort.lstrip("-"), query.sort.startswith("-")
        shown = ", ".join(f'"{column}"' for column in self._shown)
        sql = (
            f'select {shown} from scores {where} order by "{name}" {"desc" if down else "asc"} nulls last, '
            f"{_ORDER} limit ? offset ?"
        )
        return self._ask(sql, [*values, query.limit, query.offset])

    def count(self, query: NeuronQuery) -> int:
        """How many rows match, over all pages."""
        where, values = _where(query)
        return int(self._ask(f"select count(*) n from scores {where}", values)["n"][0].as_py())

    def row(self, layer: int, projection: str, index: int) -> dict[str, Any] | None:
        """One neuron with all its columns; None when there is no such neuron."""
        rows: list[dict[str, Any]] = self._ask(
            'select * from scores where layer = ? and projection = ? and "index" = ?',
            [layer, projection, index],
        ).to_pylist()
        return rows[0] if rows else None

    def columns(self, layer: int, projection: str, names: Sequence[str]) -> dict[str, list[float | None]]:
        """The named columns of one layer, in the order of the neurons' index."""
        chosen = ", ".join(f'"{name}"' for name in names)
        table = self._ask(
            f'select {chosen} from scores where layer = ? and projection = ? order by "index"',
            [layer, projection],
        )
        return {name: table[name].to_pylist() for name in names}

    def whole(self, names: Sequence[str]) -> pa.Table:
        """The named columns of all neurons, by layer, projection and index."""
        chosen = ", ".join(f'"{name}"' for name in names)
        return self._ask(f"select {chosen} from scores order by {_ORDER}")

    def summaries(self, floor: float) -> list[LayerSummary]:
        """One summary per layer and projection, in the model's order."""
        return self._summaries.get((floor,), lambda: self._summarise(floor))

    def at_least(self, wd: float) -> dict[tuple[int, str], int]:
        """How many neurons of each layer have at least this WD."""
        table = self._ask(
            "select layer, projection, count(*) filter (where wd >= ?) n from scores group by layer, projection",
            [wd],
        )
        return {(row["layer"], row["projection"]): row["n"] for row in table.to_pylist()}

    def map(self, query: MapQuery) -> RunMap:
        """Every layer's neurons ranked by a metric from the highest and averaged in bins of neighbouring ranks."""
        return self._maps.get((query,), lambda: run_map(query, self._column(query.metric), self._rows))

    def _column(self, metric: Metric) -> np.ndarray[Any, Any]:
        """A metric of all neurons, in the order of `_rows`, nan where there is none."""

        def read() -> np.ndarray[Any, Any]:
            column = self._ask(f"select {metric.value} as value from scores")["value"]
            return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

        return self._values.get((metric,), read)

    def values(self, layer: int, projection: str, metric: Metric) -> np.ndarray[Any, Any]:
        """A metric of one layer's neurons in the order of their index, nan where there is none."""
        rows = next(rows for rows in self._rows if (rows.layer, rows.projection) == (layer, projection))
        return self._column(metric)[rows.start : rows.stop]

    def _summarise(self, floor: float) -> list[LayerSummary]:
        table = self._ask(
            "select layer, projection, count(*) neurons, count(*) filter (where constant) constant, "
            "min(wd) wd_min, quantile_cont(wd, 0.25) wd_q25, quantile_cont(wd, 0.5) wd_median, "
            "quantile_cont(wd, 0.75) wd_q75, max(wd) wd_max, min(wd) filter (where wasserstein) threshold, "
            "count(*) filter (where wasserstein) wasserstein, count(*) filter (where wd > ?) above_floor "
            "from scores group by layer, place, projection order by layer, place",
            [floor],
        )
        return [LayerSummary(**row) for row in table.to_pylist()]


def groups(layer: np.ndarray[Any, Any], place: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """Runs of equal (layer, place) as (start, stop)."""
    if not len(layer):
        return []
    change = np.flatnonzero((np.diff(layer) != 0) | (np.diff(place) != 0)) + 1
    edges = [0, *change.tolist(), len(layer)]
    return list(itertools.pairwise(edges))


def _where(query: NeuronQuery) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    for column, sign, value in (
        ("layer", "=", query.layer),
        ("projection", "=", query.projection),
        ("wd", ">=", query.min_wd),
        ("wd", "<=", query.max_wd),
        ("wasserstein", "=", query.wasserstein),
    ):
        if value is not None:
            parts.append(f"{column} {sign} ?")
            values.append(value)
    for condition in query.where:
        column, sign, number = re.findall(CONDITION_PATTERN, condition)[0][:3]
        parts.append(f'"{column}" {sign} ?')
        values.append(float(number))
    return ("where " + " and ".join(parts)) if parts else "", values
