"""What is asked of a neuron's stored outputs: tokens by range, pairs, the interval of its WD."""

from __future__ import annotations

from app.schemas.outputs import NeuronOutputs, NeuronPairs, OutputsQuery, WdInterval
from app.store import bootstrap, neuron_outputs
from app.store.cache import Cache
from app.store.reader import Reader, no_neuron


class Answers(Reader):
    """Reading of stored outputs, as schemas. Everything here raises NotFound, Conflict and CorruptStore."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._intervals: Cache[WdInterval] = Cache(4096)

    def neuron_tokens(
        self, run: str, layer: int, projection: str, index: int, query: OutputsQuery
    ) -> NeuronOutputs:
        """The tokens of a range of a neuron's outputs. Raises NotFound, Conflict, CorruptStore."""
        found = self._outputs_of(run, layer, projection, index, query.expansion)
        return neuron_outputs.tokens_of(found, query)

    def neuron_pairs(
        self,
        run: str,
        layer: int,
        projection: str,
        index: int,
        points: int,
        hardest: int,
        expansion: str | None,
    ) -> NeuronPairs:
        """The pairs behind a neuron's MD. Raises NotFound, Conflict, CorruptStore."""
        found = self._outputs_of(run, layer, projection, index, expansion)
        table = self.outputs.pairs(run, layer, projection)
        left_out = self.outputs.require(run, layer, projection).left_out
        seed = self.record(run).request.seed
        return neuron_outputs.pairs_of(found, table, left_out, points=points, hardest=hardest, seed=seed)

    def wd_interval(
        self, run: str, layer: int, projection: str, index: int, confidence: float, resamples: int | None
    ) -> WdInterval:
        """How well the text determines a neuron's WD. Raises NotFound, Conflict, CorruptStore."""
        outputs = self._outputs_of(run, layer, projection, index, None)
        wd = (self.scores(run).row(layer, projection, index) or {})["wd"]
        seed, window = self.record(run).request.seed, outputs.stream.windows
        drawn = resamples or bootstrap.default_resamples(len(outputs.values))

        def make() -> WdInterval:
            found = None
            if wd is not None:
                found = bootstrap.wd_interval(
                    outputs.values, window, wd, resamples=drawn, seed=seed, confidence=confidence
                )
            return WdInterval(
                wd=wd,
                low=found.low if found else None,
                high=found.high if found else None,
                confidence=confidence,
                standard_error=found.standard_error if found else None,
                bias=found.bias if found else None,
                resamples=found.resamples if found else 0,
                windows=int(window[-1]) + 1,
                seed=seed,
                method=bootstrap.METHOD,
            )

        return self._intervals.get((run, layer, projection, index, confidence, drawn), make)

    def _outputs_of(
        self, run: str, layer: int, projection: str, index: int, expansion: str | None
    ) -> neuron_outputs.Outputs:
        neurons = self._require(run, self.scores(run), layer, projection)
        if index >= neurons:
            raise no_neuron(layer, projection, index, neurons)
        experts = self.effects.assigned(run, expansion, layer, projection) if expansion else None
        values = self.outputs.row(run, layer, projection, index)
        return neuron_outputs.Outputs(values, self._stream(run), experts)

    def forget(self, run: str) -> None:
        """Drop what is cached of a run."""
        super().forget(run)
        self._intervals.forget(run)
