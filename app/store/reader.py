"""What pages show: layers, the map, rows, one neuron. Everything cached by run, so that a neuron costs milliseconds.

A run under way can be read as far as it has come: its ranks are then those among the finished blocks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from app.errors import Conflict, CorruptStore, InvalidRequest, NotFound
from app.schemas.distribution import NeuronDistributions
from app.schemas.expansion import ExpertTokens
from app.schemas.layer import MOST_CELLS, Correlation, LayerSummary, LayerValues, MapQuery, Metric, RunMap
from app.schemas.neuron import (
    CONDITION_PATTERN,
    Distribution,
    NeuronDetail,
    NeuronEffects,
    NeuronQuery,
    NeuronRow,
    Provenance,
)
from app.schemas.page import Page
from app.schemas.sweep import NeuronSweep
from app.store import keys
from app.store.cache import Cache
from app.store.correlation import correlations
from app.store.differences import Differences
from app.store.effects import Effects
from app.store.evaluations import Evaluations
from app.store.outputs import Outputs
from app.store.parsing import from_parquet
from app.store.rows import DAMAGED, ArrayRows, guarded
from app.store.scores import ROW_COLUMNS, Scores, ranked
from app.store.sweeps import Sweeps
from app.store.tokens import TokenStream
from app.store.variants import Variants
from app.store.writer import Writer


class Reader(Writer):
    """Reading of numbers, as schemas."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._scores: Cache[Scores] = Cache(8)
        self._block_scores: Cache[pa.Table] = Cache(256)
        self._tokens: Cache[TokenStream] = Cache(4)
        self._rows = ArrayRows(self.files)
        self.variants = Variants(self)
        self.evaluations = Evaluations(self, self.variants)
        self.effects = Effects(self.variants, self._rows)
        self.outputs = Outputs(self, self._rows)
        self.sweeps = Sweeps(self, self._rows)
        self.differences = Differences(self, self.scores)

    def layers(self, run: str, min_wd: float | None = None) -> list[LayerSummary]:
        """A summary of each layer, in the model's order; with `min_wd` also how many have at least that WD."""
        facts, scores = self.facts(run), self.scores(run)
        found = scores.summaries(facts.gaussian_floor if facts else 0.0)
        if min_wd is None:
            return found
        counts = scores.at_least(min_wd)
        return [s.model_copy(update={"at_least": counts[s.layer, s.projection]}) for s in found]

    def layer_values(
        self,
        run: str,
        layer: int,
        projection: str,
        metrics: Sequence[Metric],
        variants: Sequence[str | None] = (),
    ) -> LayerValues:
        """Metrics of all neurons of one layer, in the order of their index; null where `variants` have not come to."""
        scores = self.scores(run, require(metrics, variants))
        neurons = self._require(run, scores, layer, projection)
        if neurons > MOST_CELLS and metrics:
            raise InvalidRequest(
                f"{projection} of block {layer} has {neurons:,} neurons; at most {MOST_CELLS:,} come at once.",
                hint=f"GET /api/v1/runs/{run}/neurons?layer={layer}&projection={projection} has them page by page, and "
                "with format=parquet all.",
            )
        [summary] = [s for s in self.layers(run) if (s.layer, s.projection) == (layer, projection)]
        values = scores.columns(layer, projection, [m.value for m in metrics]) if metrics else {}
        return LayerValues(
            layer=layer, projection=projection, neurons=neurons, summary=summary, metrics=values
        )

    def correlation(
        self,
        run: str,
        layer: int,
        projection: str,
        metrics: tuple[Metric, Metric],
        variants: Sequence[str | None] = (),
    ) -> Correlation:
        """How two metrics of a layer's neurons go together."""
        scores, (x, y) = self.scores(run, require(metrics, variants)), metrics
        self._require(run, scores, layer, projection)
        n, pearson, spearman = correlations(*(scores.values(layer, projection, m) for m in metrics))
        return Correlation(x=x, y=y, n=n, pearson=pearson, spearman=spearman)

    def run_map(self, run: str, query: MapQuery) -> RunMap:
        """The overview of the run, or a part of it. Raises InvalidRequest."""
        return self.scores(run, require([query.metric], [query.pruning, query.expansion])).map(query)

    def neurons(self, run: str, query: NeuronQuery) -> Page[NeuronRow]:
        """A page of neurons."""
        scores = self._asked(run, query)
        rows = scores.page(query).to_pylist()
        named = query.pruning or query.expansion
        return Page(
            items=[NeuronRow(**row, effects=NeuronEffects(**row) if named else None) for row in rows],
            total=scores.count(query),
            limit=query.limit,
            offset=query.offset,
        )

    def neurons_table(self, run: str, query: NeuronQuery) -> pa.Table:
        """The same rows as an Arrow table, for CSV and Parquet; columns as in `NeuronRow`."""
        return self._asked(run, query).page(query)

    def _asked(self, run: str, query: NeuronQuery) -> Scores:
        names = [
            query.sort.lstrip("-"),
            *(re.findall(CONDITION_PATTERN, where)[0][0] for where in query.where),
        ]
        metrics = [Metric(name) for name in names if name in Metric.__members__]
        return self.scores(run, require(metrics, [query.pruning, query.expansion]))

    def distributions(
        self, run: str, layer: int, projection: str, index: int, pruning: str | None, expansion: str | None
    ) -> NeuronDistributions:
        """One neuron dense, pruned and expanded, on shared bins. Raises NotFound, Conflict, CorruptStore."""
        neuron = self.neuron(run, layer, projection, index)
        return self.effects.distributions(run, neuron, pruning, expansion)

    def neuron_sweep(self, run: str, layer: int, projection: str, index: int, sweep: str) -> NeuronSweep:
        """One neuron at every point of a sweep of its layer. Raises NotFound, Conflict, CorruptStore."""
        return self.sweeps.neuron(run, sweep, self.distributions(run, layer, projection, index, None, None))

    def experts(self, run: str, expansion: str, layer: int, projection: str) -> list[ExpertTokens]:
        """What goes to each expert of an expanded layer. Raises NotFound, Conflict."""
        self.record(run)
        return self.effects.experts(run, expansion, layer, projection, self._stream(run))

    def neuron(self, run: str, layer: int, projection: str, index: int) -> NeuronDetail:
        """All that is known of one neuron. Raises NotFound, CorruptStore."""
        scores = self.scores(run)
        neurons = self._require(run, scores, layer, projection)
        row = scores.row(layer, projection, index)
        if row is None:
            raise no_neuron(layer, projection, index, neurons)
        read = {name: self._array_row(run, layer, projection, name, index) for name in keys.ARRAYS}
        return NeuronDetail(
            **{name: row[name] for name in ROW_COLUMNS},
            layer_neurons=neurons,
            run_neurons=scores.neurons,
            distribution=Distribution(
                low=row["low"],
                high=row["high"],
                counts=read["counts"].tolist(),
                quantiles=read["quantiles"].tolist(),
            ),
            tokens=self._stream(run).examples(read["token_positions"], read["token_values"]),
            provenance=self._provenance(run),
        )

    def tokens(self, run: str) -> pa.Table:
        """The run's token stream (`tokens.SCHEMA`)."""
        return self._stream(run).table

    def _stream(self, run: str) -> TokenStream:
        key = keys.run(run, "tokens.parquet")

        def load() -> TokenStream:
            data = self.files.read(key)
            if data is None:
                raise CorruptStore(f"'{key}' is missing.", hint=DAMAGED)
            stream: TokenStream = guarded(key, lambda: TokenStream(from_parquet(data)))
            return stream

        return self._tokens.get((run,), load)

    def scores(self, run: str, variants: Sequence[str] = ()) -> Scores:
        """The ranked scores of the run as far as it has come, with what `variants` did joined.

        Raises Conflict before its first block is done.
        """
        record, manifest = self.record(run), self.manifest(run)
        if variants:
            come = tuple(len(self.variants.results(run, variant)) for variant in variants)
            return self._scores.get(
                (run, tuple(variants), come),
                lambda: Scores(self.effects.joined(run, self._finished_table(run), variants)),
            )
        if manifest is not None:
            return self._scores.get((run, "finished"), lambda: Scores(self._finished_table(run)))
        done = self.blocks_done(run)
        if not done:
            raise Conflict(
                f"No block of run '{run}' is finished yet.",
                hint="Wait for its job, or submit it again to go on.",
            )

        def join() -> Scores:
            blocks = [
                self._block_scores.get((run, layer), lambda layer=layer: self.read_block_scores(run, layer))  # type: ignore[misc]
                for layer in done
            ]
            projections = [p.name for p in record.model.projections]
            return Scores(ranked(pa.concat_tables(blocks), projections, record.request.top_share))

        return self._scores.get((run, tuple(done)), join)

    def forget(self, run: str) -> None:
        """Drop what is cached of a run."""
        super().forget(run)
        for cache in (
            self._scores,
            self._block_scores,
            self._tokens,
            self._rows,
            self.variants,
            self.effects,
            self.outputs,
            self.sweeps,
            self.differences,
        ):
            cache.forget(run)

    def _finished_table(self, run: str) -> pa.Table:
        key = keys.run(run, "scores.parquet")
        manifest, data = self.manifest(run), self.files.read(key)
        if data is None:
            raise CorruptStore(f"'{key}' is missing.", hint=DAMAGED)
        if manifest is None or len(data) != manifest.files["scores.parquet"].size:
            raise CorruptStore(
                f"'{key}' has {len(data)} bytes and does not match its manifest.", hint=DAMAGED
            )
        return guarded(key, lambda: from_parquet(data))

    def _require(self, run: str, scores: Scores, layer: int, projection: str) -> int:
        """Neurons of a layer that is there. Raises NotFound, or Conflict when it is not finished yet."""
        if (layer, projection) in scores.sizes:
            return scores.sizes[layer, projection]
        model = self.record(run).model
        if 0 <= layer < model.blocks and projection in {p.name for p in model.projections}:
            if self.manifest(run) is None:
                raise Conflict(
                    f"Block {layer} of run '{run}' is not finished yet.",
                    hint="Wait for its job to come so far.",
                )
            raise NotFound(f"Block {layer} has no {projection}.", hint="See the run's layers.")
        names = ", ".join(p.name for p in model.projections)
        raise NotFound(
            f"There is no layer {projection} in block {layer}.",
            hint=f"Blocks go from 0 to {model.blocks - 1}; projections are {names}.",
        )

    def _array_row(
        self, run: str, layer: int, projection: str, name: str, index: int
    ) -> np.ndarray[Any, Any]:
        manifest = self.block_manifest(run, layer)
        stamps = manifest.files if manifest else {}
        folder = keys.array(projection, name)
        return self._rows.row((run, layer), keys.block(run, layer), folder, stamps, index)

    def _provenance(self, run: str) -> Provenance:
        record, facts = self.record(run), self.facts(run)
        if facts is None:
            raise CorruptStore(f"'{keys.run(run, 'facts.json')}' is missing.", hint=DAMAGED)
        return Provenance(
            run=run,
            model=record.model.title,
            model_fingerprint=record.model.fingerprint,
            corpus=record.corpus_title or record.request.corpus,
            tokens=facts.tokens,
            window=record.request.window,
            pairs=facts.pairs,
            seed=record.request.seed,
            gaussian_floor=facts.gaussian_floor,
            versions=facts.versions,
        )


def no_neuron(layer: int, projection: str, index: int, neurons: int) -> NotFound:
    """The refusal of an index that a layer does not have."""
    return NotFound(
        f"There is no neuron {index} in {projection} of block {layer}: it has {neurons}, from 0.",
        hint="See the layer's neurons.",
    )


def require(metrics: Sequence[Metric], variants: Sequence[str | None]) -> list[str]:
    """The variants that are named. Raises InvalidRequest when one of `metrics` needs another."""
    named = [variant for variant in variants if variant]
    kinds = {keys.kind_of(variant) for variant in named}
    for metric in metrics:
        lacking = sorted(metric.needs - kinds)
        if lacking:
            raise InvalidRequest(
                f"'{metric}' needs the {' and the '.join(lacking)} that it is about.",
                hint=f"Add {' and '.join(f'{kind}=ID' for kind in lacking)}; GET /api/v1/runs/RUN/{lacking[0]}s "
                "lists them.",
            )
    return named
