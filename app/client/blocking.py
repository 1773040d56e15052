"""The synchronous client."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from app.client import calls
from app.client.calls import PREFIX, WAITS_SECONDS, Call, Calls, JobEvents, T, error_of, headers, unreachable
from app.errors import ApiUnreachable
from app.schemas.corpus import Corpus
from app.schemas.difference import NeuronDifference
from app.schemas.distribution import NeuronDistributions
from app.schemas.evaluation import Evaluation, EvaluationRequest, EvaluationSubmitted
from app.schemas.expansion import Expansion, ExpansionRequest, ExpansionSubmitted, ExpertTokens
from app.schemas.health import Health
from app.schemas.job import Job, JobLog
from app.schemas.layer import Correlation, LayerSummary, LayerValues, RunMap
from app.schemas.model import Estimate, ModelInspection, ModelSources
from app.schemas.neuron import NeuronDetail, NeuronRow
from app.schemas.outputs import LayerOutputs, NeuronOutputs, NeuronPairs, OutputsSubmitted, WdInterval
from app.schemas.page import Page
from app.schemas.pruning import Pruning, PruningRequest, PruningSubmitted
from app.schemas.run import Run, RunRequest, RunSubmitted
from app.schemas.sweep import NeuronSweep, Sweep, SweepRequest, SweepSubmitted

log = logging.getLogger("wasserscope.client")


class Client:
    """The synchronous client."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout_seconds: float = 30.0,
        waits_seconds: Sequence[float] = WAITS_SECONDS,
    ) -> None:
        self._waits = waits_seconds
        self._http = httpx.Client(
            base_url=url, headers=headers(token), timeout=timeout_seconds, transport=transport
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def health(self) -> Health:
        """The service and what it rests on."""
        return self._send(Calls.health())

    def models(self) -> ModelSources:
        """Models that can be named."""
        return self._send(Calls.models())

    def inspect(self, model: str, *, tokens: int = 8192, window: int = 512) -> ModelInspection:
        """A model's layers and what a run on it would take."""
        return self._send(Calls.inspect(model, tokens, window))

    def corpora(self) -> Page[Corpus]:
        """Texts that can be named."""
        return self._send(Calls.corpora())

    def post_text(self, text: str, title: str = "posted text") -> Corpus:
        """Keep a text as a corpus; its `name` goes into requests."""
        return self._send(Calls.post_text(text, title))

    def submit(self, request: RunRequest) -> RunSubmitted:
        """Start a run, join the one under way, or get the finished one."""
        return self._send(Calls.submit(request))

    def runs(self, *, limit: int = 50, offset: int = 0) -> Page[Run]:
        """Runs, the newest first."""
        return self._send(Calls.runs(limit, offset))

    def run(self, run: str) -> Run:
        """One run."""
        return self._send(Calls.run(run))

    def delete_run(self, run: str) -> None:
        """Remove a run and all it stored."""
        self._send(Calls.delete_run(run))

    def layers(self, run: str, min_wd: float | None = None) -> list[LayerSummary]:
        """A summary of each layer; with `min_wd` also how many of its neurons have at least that WD."""
        return self._send(Calls.layers(run, min_wd)).items

    def layer(
        self,
        run: str,
        layer: int,
        projection: str,
        metrics: Sequence[str] = ("wd",),
        *,
        pruning: str | None = None,
        expansion: str | None = None,
    ) -> LayerValues:
        """Metrics of all neurons of a layer; metrics of a pruning or an expansion need it named."""
        return self._send(Calls.layer(run, layer, projection, metrics, pruning=pruning, expansion=expansion))

    def correlation(
        self,
        run: str,
        layer: int,
        projection: str,
        x: str = "wd",
        y: str = "md",
        *,
        pruning: str | None = None,
        expansion: str | None = None,
    ) -> Correlation:
        """How two metrics of a layer's neurons go together."""
        call = Calls.correlation(run, layer, projection, x, y, pruning=pruning, expansion=expansion)
        return self._send(call)

    def map(
        self,
        run: str,
        metric: str = "wd",
        bins: int | None = None,
        projection: str | None = None,
        **part: Any,
    ) -> RunMap:
        """The Wasserstein map, that of another metric, or a part of it; `part` has the other fields of MapQuery."""
        query = {"metric": metric, "bins": bins, "projection": projection, **part}
        return self._send(Calls.map(run, query))

    def differences(self, run: str, other: str, **query: Any) -> Page[NeuronDifference]:
        """This run against another one with the same layers, neuron by neuron; arguments as in `DifferenceQuery`."""
        return self._send(Calls.differences(run, {"other": other, **query}))

    def neurons(self, run: str, **query: Any) -> Page[NeuronRow]:
        """A page of neurons; `query` has the fields of NeuronQuery."""
        return self._send(Calls.neurons(run, query))

    def neuron(self, run: str, layer: int, projection: str, index: int) -> NeuronDetail:
        """All that is known of one neuron."""
        return self._send(Calls.neuron(run, layer, projection, index))

    def distributions(
        self,
        run: str,
        layer: int,
        projection: str,
        index: int,
        *,
        pruning: str | None = None,
        expansion: str | None = None,
    ) -> NeuronDistributions:
        """One neuron dense, pruned and expanded, on shared bins."""
        return self._send(
            Calls.distributions(run, layer, projection, index, pruning=pruning, expansion=expansion)
        )

    def store_outputs(self, run: str, layer: int, projection: str) -> OutputsSubmitted:
        """Store every token's output of a layer, join the job that does, or get what is there."""
        return self._send(Calls.store_outputs(run, layer, projection))

    def outputs(self, run: str, layer: int, projection: str) -> LayerOutputs:
        """Whether a layer's outputs are stored, and what they take."""
        return self._send(Calls.outputs(run, layer, projection))

    def delete_outputs(self, run: str, layer: int, projection: str) -> None:
        """Remove a layer's stored outputs."""
        self._send(Calls.delete_outputs(run, layer, projection))

    def stored_outputs(self, run: str, *, limit: int = 50, offset: int = 0) -> Page[LayerOutputs]:
        """The layers of a run whose outputs are stored."""
        return self._send(Calls.stored_outputs(run, limit, offset))

    def tokens(self, run: str, layer: int, projection: str, index: int, **query: Any) -> NeuronOutputs:
        """Tokens of a range of a neuron's stored outputs; `query` has the fields of OutputsQuery."""
        return self._send(Calls.tokens(run, layer, projection, index, **query))

    def pairs(
        self,
        run: str,
        layer: int,
        projection: str,
        index: int,
        *,
        points: int = 1000,
        hardest: int = 8,
        expansion: str | None = None,
    ) -> NeuronPairs:
        """The pairs behind a neuron's mapping difficulty; needs the layer's outputs stored."""
        return self._send(
            Calls.pairs(run, layer, projection, index, points=points, hardest=hardest, expansion=expansion)
        )

    def wd_interval(
        self,
        run: str,
        layer: int,
        projection: str,
        index: int,
        *,
        confidence: float = 0.95,
        resamples: int | None = None,
    ) -> WdInterval:
        """A bootstrap interval for a neuron's WD; needs the layer's outputs stored."""
        return self._send(
            Calls.wd_interval(run, layer, projection, index, confidence=confidence, resamples=resamples)
        )

    def prune(self, run: str, request: PruningRequest) -> PruningSubmitted:
        """Prune layers of a run, join the job that does, or get what is done already."""
        return self._send(Calls.prune(run, request))

    def estimate_pruning(self, run: str, request: PruningRequest) -> Estimate:
        """What the layers that are missing would take."""
        return self._send(Calls.estimate_pruning(run, request))

    def prunings(self, run: str, *, limit: int = 50, offset: int = 0) -> Page[Pruning]:
        """Prunings of a run, the newest first."""
        return self._send(Calls.prunings(run, limit, offset))

    def pruning(self, run: str, pruning: str) -> Pruning:
        """One pruning as far as it has come."""
        return self._send(Calls.pruning(run, pruning))

    def delete_pruning(self, run: str, pruning: str) -> None:
        """Remove a pruning and all it stored."""
        self._send(Calls.delete_pruning(run, pruning))

    def expand(self, run: str, request: ExpansionRequest) -> ExpansionSubmitted:
        """Expand layers of a run, join the job that does, or get what is done already."""
        return self._send(Calls.expand(run, request))

    def estimate_expansion(self, run: str, request: ExpansionRequest) -> Estimate:
        """What the layers that are missing would take."""
        return self._send(Calls.estimate_expansion(run, request))

    def expansions(self, run: str, *, limit: int = 50, offset: int = 0) -> Page[Expansion]:
        """Expansions of a run, the newest first."""
        return self._send(Calls.expansions(run, limit, offset))

    def expansion(self, run: str, expansion: str) -> Expansion:
        """One expansion as far as it has come."""
        return self._send(Calls.expansion(run, expansion))

    def delete_expansion(self, run: str, expansion: str) -> None:
        """Remove an expansion and all it stored."""
        self._send(Calls.delete_expansion(run, expansion))

    def experts(self, run: str, expansion: str, layer: int, projection: str) -> list[ExpertTokens]:
        """What goes to each expert of an expanded layer."""
        return self._send(Calls.experts(run, expansion, layer, projection)).items

    def export(self, run: str, variant: str) -> Job:
        """Write a pruned or expanded model as a folder; its place is in `export` of the variant."""
        return self._send(Calls.export(run, variant))

    def evaluate(self, run: str, request: EvaluationRequest) -> EvaluationSubmitted:
        """Perplexity of the dense model and of variants: start, join, or get what is finished."""
        return self._send(Calls.evaluate(run, request))

    def estimate_evaluation(self, run: str, request: EvaluationRequest) -> Estimate:
        """What an evaluation would take."""
        return self._send(Calls.estimate_evaluation(run, request))

    def evaluations(self, run: str, *, limit: int = 50, offset: int = 0) -> Page[Evaluation]:
        """Evaluations of a run, the newest first."""
        return self._send(Calls.evaluations(run, limit, offset))

    def evaluation(self, run: str, evaluation: str) -> Evaluation:
        """One evaluation; its results once they are there."""
        return self._send(Calls.evaluation(run, evaluation))

    def delete_evaluation(self, run: str, evaluation: str) -> None:
        """Remove an evaluation."""
        self._send(Calls.delete_evaluation(run, evaluation))

    def sweep(self, run: str, request: SweepRequest) -> SweepSubmitted:
        """One layer at many sparsities: start, join, or get the finished sweep."""
        return self._send(Calls.sweep(run, request))

    def estimate_sweep(self, run: str, request: SweepRequest) -> Estimate:
        """What the points that are missing would take."""
        return self._send(Calls.estimate_sweep(run, request))

    def sweeps(
        self,
        run: str,
        *,
        layer: int | None = None,
        projection: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> Page[Sweep]:
        """Sweeps of a run or of one layer, the newest first."""
        return self._send(Calls.sweeps(run, limit, offset, layer=layer, projection=projection))

    def one_sweep(self, run: str, sweep: str) -> Sweep:
        """One sweep as far as it has come."""
        return self._send(Calls.one_sweep(run, sweep))

    def delete_sweep(self, run: str, sweep: str) -> None:
        """Remove a sweep and all it stored."""
        self._send(Calls.delete_sweep(run, sweep))

    def neuron_sweep(self, run: str, layer: int, projection: str, index: int, sweep: str) -> NeuronSweep:
        """One neuron at every point of a finished sweep of its layer."""
        return self._send(Calls.neuron_sweep(run, layer, projection, index, sweep))

    def jobs(
        self,
        *,
        limit: int = 50,
        offset: int = 0,
        state: str | None = None,
        run: str | None = None,
        subject: str | None = None,
        kind: str | None = None,
    ) -> Page[Job]:
        """Jobs, the newest first."""
        return self._send(Calls.jobs(limit, offset, state=state, run=run, subject=subject, kind=kind))

    def job(self, job: str) -> Job:
        """One job."""
        return self._send(Calls.job(job))

    def cancel(self, job: str) -> Job:
        """Ask a job to stop."""
        return self._send(Calls.cancel(job))

    def retry(self, job: str) -> Job:
        """Try a failed or cancelled job again; what is finished is kept."""
        return self._send(Calls.retry(job))

    def log(self, job: str) -> JobLog:
        """What a job wrote."""
        return self._send(Calls.log(job))

    def events(self, job: str) -> Iterator[Job]:
        """The job at each change until it ends; the last one is final. Goes on by asking if the stream breaks."""
        events = JobEvents()
        try:
            with self._http.stream("GET", f"{PREFIX}/jobs/{job}/events") as answer:
                if answer.is_error:
                    answer.read()
                    raise error_of(answer)
                for line in answer.iter_lines():
                    found = events.feed(line)
                    if found is not None:
                        yield found
                    if events.final:
                        return
        except httpx.TransportError as error:
            log.info("the stream of job %s broke (%s); asking instead", job, error)
        while not events.final:
            found = self.job(job)
            events.final = found.state.final
            yield found
            if not events.final:
                time.sleep(calls.POLL_SECONDS)

    def _send(self, call: Call[T]) -> T:
        for wait in call.waits(self._waits):
            try:
                answer = self._http.request(**call.request())
            except httpx.TransportError as error:
                if wait is None:
                    raise unreachable(self._http.base_url, error) from error
            else:
                if answer.status_code != 503 or wait is None:
                    return call.read(answer)
            time.sleep(wait)
        raise ApiUnreachable("No try was made.")
