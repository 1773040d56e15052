"""A client that makes its data up, the same every time: for tests of pages, and to look at them without a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.errors import InvalidRequest, NotFound
from app.schemas.corpus import Corpus
from app.schemas.distribution import NeuronDistributions
from app.schemas.evaluation import Evaluation
from app.schemas.expansion import Expansion, ExpansionRequest, ExpansionSubmitted, ExpertTokens
from app.schemas.job import Job, JobLog, JobState, Progress
from app.schemas.layer import (
    MAP_BINS,
    Correlation,
    LayerSummary,
    LayerValues,
    MapQuery,
    MapRow,
    Metric,
    RunMap,
)
from app.schemas.model import Estimate, ModelSource, ModelSources, Projection
from app.schemas.neuron import Distribution, NeuronDetail, NeuronRow, NeuronTokens, Provenance, TokenExample
from app.schemas.outputs import LayerOutputs, NeuronOutputs, NeuronPairs, OutputsSubmitted, WdInterval
from app.schemas.page import Page
from app.schemas.pruning import Pruning, PruningRequest, PruningSubmitted
from app.schemas.run import Run, RunModel, RunRequest, RunState, RunSubmitted
from app.schemas.variant import VariantKind
from tests.unit.figures import fake_outputs, fake_variants

RUN, MADE = fake_variants.RUN, fake_variants.MADE
LIVE_RUN = "tiny-llama-ba9876543210"
JOB = f"explore-{LIVE_RUN}"
BLOCKS = 6
NEURONS = {"gate_proj": 96, "up_proj": 96, "down_proj": 40}
FLOOR = 0.0104
HOSTILE = "<img src=x onerror=window.hacked=1><b>bold</b>"


def row(layer: int, projection: str, index: int) -> NeuronRow:
    """One neuron's made-up scores; neuron 7 of each layer is constant."""
    seed = np.random.default_rng([layer, len(projection), index])
    values = seed.gamma(2.0, 0.03, size=10)
    constant = index == 7
    return NeuronRow(
        layer=layer,
        projection=projection,
        index=index,
        wd=None if constant else float(values[0] + 0.01 * layer),
        md=None if constant else 1 + float(values[1]),
        mean=float(values[2]),
        std=0.0 if constant else 0.5 + float(values[3]),
        skew=None if constant else float(values[4]),
        kurtosis=None if constant else float(values[5] * 20),
        entropy=None if constant else 1.4,
        mean_abs_weight=float(values[6]),
        weight_norm=float(values[7]) * 10,
        zero_share=0.0,
        constant=constant,
        wasserstein=index < 3,
        rank_layer=index + 1,
        rank_model=index + 1 + 100 * layer,
    )


def rows(layer: int, projection: str) -> list[NeuronRow]:
    """A whole layer."""
    return [row(layer, projection, index) for index in range(NEURONS[projection])]


def summary(layer: int, projection: str) -> LayerSummary:
    """Its summary."""
    known = np.asarray([r.wd for r in rows(layer, projection) if r.wd is not None])
    low, quarter, half, three, high, threshold = np.quantile(known, [0, 0.25, 0.5, 0.75, 1, 0.97]).tolist()
    return LayerSummary(
        layer=layer,
        projection=projection,
        neurons=NEURONS[projection],
        constant=1,
        wd_min=low,
        wd_q25=quarter,
        wd_median=half,
        wd_q75=three,
        wd_max=high,
        threshold=threshold,
        wasserstein=3,
        above_floor=int((known > FLOOR).sum()),
    )


def counted(layer: int, projection: str, min_wd: float | None) -> LayerSummary:
    """Its summary, with how many neurons have at least a WD."""
    found = summary(layer, projection)
    if min_wd is None:
        return found
    above = sum(r.wd is not None and r.wd >= min_wd for r in rows(layer, projection))
    return found.model_copy(update={"at_least": above})


def layer_values(
    layer: int, projection: str, metrics: Sequence[str], pruning: bool = False, expansion: bool = False
) -> LayerValues:
    """Metrics of a layer; those of a pruning or an expansion where there is one."""
    found = [with_effects(r, pruning, expansion) for r in rows(layer, projection)]
    return LayerValues(
        layer=layer,
        projection=projection,
        neurons=len(found),
        summary=summary(layer, projection),
        metrics={name: [value(r, name) for r in found] for name in metrics},
    )


def with_effects(found: NeuronRow, pruning: bool, expansion: bool) -> NeuronRow:
    """A neuron with what was done to it."""
    made = fake_variants.effects(found.layer, found.projection, found.index, pruning, expansion)
    return found.model_copy(update={"effects": made})


def value(found: NeuronRow, metric: str) -> float | None:
    """One metric of a neuron, its own or of what was done to it."""
    known: float | None = getattr(found.effects if Metric(metric).needs else found, metric)
    return known


def run_map(
    metric: Metric,
    bins: int,
    pruning: bool = False,
    expansion: bool = False,
    part: MapQuery = MapQuery(),  # noqa: B008 -- it is frozen
) -> RunMap:
    """The map: bins as the store cuts them; a layer without values is one of nulls."""
    made = []
    for layer in range(part.first_layer, min(BLOCKS, (part.last_layer or BLOCKS) + 1)):
        for projection, count in NEURONS.items():
            last = min(count, part.last_rank or count)
            ranks = last - part.first_rank + 1
            if part.projection not in {None, projection} or ranks < 1:
                continue
            every_row = [with_effects(r, pruning, expansion) for r in rows(layer, projection)]
            known = [(v, r.index) for r in every_row if (v := value(r, metric)) is not None]
            known.sort(reverse=True)
            cells = min(bins, ranks if part.last_rank else max(NEURONS.values()))
            first = part.first_rank - 1
            places = [min(first + i * ranks // cells, len(known) - 1) for i in range(cells)]
            made.append(
                MapRow(
                    layer=layer,
                    projection=projection,
                    neurons=count,
                    first_rank=part.first_rank,
                    last_rank=last,
                    values=[known[p][0] if known else None for p in places],
                    leaders=[known[p][1] if known else 0 for p in places],
                )
            )
    every = [value for line in made for value in line.values if value is not None]
    low, high = (min(every), max(every)) if every else (None, None)
    return RunMap(metric=metric, bins=bins, rows=made, minimum=low, maximum=high)


def correlation(layer: int, projection: str, x: Metric, y: Metric) -> Correlation:
    """Pearson's and Spearman's of two metrics of a layer."""
    both = [(value(r, x), value(r, y)) for r in rows(layer, projection)]
    pairs = np.asarray([pair for pair in both if None not in pair], dtype=float)
    ranks = pairs.argsort(axis=0).argsort(axis=0)
    return Correlation(
        x=x,
        y=y,
        n=len(pairs),
        pearson=float(np.corrcoef(pairs.T)[0, 1]),
        spearman=float(np.corrcoef(ranks.T)[0, 1]),
    )


def detail(run: str, layer: int, projection: str, index: int) -> NeuronDetail:
    """All of one neuron; its highest token carries markup that must stay text."""
    scores = row(layer, projection, index)
    sample = np.random.default_rng(index).normal(scores.mean, max(scores.std, 1e-9), 8192)
    counts, edges = np.histogram(sample, bins=256)
    tokens = [
        TokenExample(
            position=40 * i,
            window=i,
            offset=i + 3,
            value=4.0 - i / 8,
            token=HOSTILE if i == 0 else " the",
            before="The statement is executed as follows, where the target is evaluated once and then",
            after=" value is bound to the name in the\nlocal namespace (see section Naming and binding).",
        )
        for i in range(16)
    ]
    made = Provenance(
        run=run,
        model="Tiny-Llama",
        model_fingerprint="gguf-0011223344556677",
        corpus="python-docs",
        tokens=8192,
        window=512,
        pairs=4096,
        seed=0,
        gaussian_floor=FLOOR,
        versions={"torch": "2.13.0", "wasserscope": "0.1.0"},
    )
    return NeuronDetail(
        **scores.model_dump(),
        layer_neurons=NEURONS[projection],
        run_neurons=BLOCKS * sum(NEURONS.values()),
        distribution=Distribution(
            low=edges[0],
            high=edges[-1],
            counts=counts.tolist(),
            quantiles=np.quantile(sample, np.linspace(0, 1, 257)).tolist(),
        ),
        tokens=NeuronTokens(high=tokens, low=tokens[::-1], random=tokens[:4]),
        provenance=made,
    )


def a_run(name: str = RUN, state: RunState = RunState.finished) -> Run:
    """A run."""
    shapes = [
        Projection(name=projection, module=f"mlp.{projection}", in_features=40, out_features=count)
        for projection, count in NEURONS.items()
    ]
    model = RunModel(
        source="path:tiny-llama",
        title="Tiny-Llama",
        fingerprint="gguf-0011223344556677",
        family="llama",
        dtype="float32",
        blocks=BLOCKS,
        d_model=40,
        projections=shapes,
    )
    done = state is RunState.finished
    return Run(
        id=name,
        state=state,
        request=RunRequest(model="path:tiny-llama"),
        model=model,
        corpus_title="Python's language reference (built in)",
        created_at=MADE,
        finished_at=MADE if done else None,
        blocks_done=BLOCKS if done else 2,
        neurons=BLOCKS * sum(NEURONS.values()) if done else 0,
        tokens=8192 if done else 0,
        pairs=4096 if done else 0,
        gaussian_floor=FLOOR if done else None,
        job=f"explore-{name}",
        seconds=61.2 if done else None,
        device="cpu" if done else None,
    )


def a_job(state: JobState = JobState.running) -> Job:
    """A job."""
    progress = Progress(
        phase="scoring block 3 of 6",
        fraction=0.42,
        block=2,
        blocks=6,
        tokens_per_second=5200.0,
        eta_seconds=48.0,
    )
    return Job(
        id=JOB, kind="explore", state=state, run=LIVE_RUN, progress=progress, device="cpu", created_at=MADE
    )


class FakeClient:
    """The methods of AsyncClient that the dashboard uses."""

    def __init__(
        self,
        runs: list[Run] | None = None,
        jobs: list[Job] | None = None,
        prunings: Sequence[Pruning] = (),
        expansions: Sequence[Expansion] = (),
        outputs: LayerOutputs = fake_outputs.STORED,
        evaluations: Sequence[Evaluation] = (),
    ) -> None:
        self.made_evaluations = list(evaluations)
        self.layer_outputs = outputs
        self.asked: list[dict[str, Any]] = []
        self.made_prunings, self.made_expansions = list(prunings), list(expansions)
        self.submitted: list[PruningRequest | ExpansionRequest] = []
        self._runs = [a_run(LIVE_RUN, RunState.running), a_run()] if runs is None else runs
        self._jobs = [a_job()] if jobs is None else jobs

    async def models(self) -> ModelSources:
        items = [ModelSource(source="demo", title="SmolLM2-135M-Instruct (offline demo)", kind="demo")]
        return ModelSources(items=items, total=1, forms=["demo", "hub:org/name@revision"])

    async def corpora(self) -> Page[Corpus]:
        items = [
            Corpus(
                name="python-docs",
                title="Python's language reference (built in)",
                kind="builtin",
                characters=465_000,
            )
        ]
        return Page(items=items, total=1, limit=50, offset=0)

    async def submit(self, request: RunRequest) -> RunSubmitted:
        return RunSubmitted(run=a_run(LIVE_RUN, RunState.running), job=a_job())

    async def runs(self) -> Page[Run]:
        return Page(items=self._runs, total=len(self._runs), limit=50, offset=0)

    async def run(self, run: str) -> Run:
        for found in self._runs:
            if found.id == run:
                return found
        raise NotFound(f"There is no run {run!r}.", hint="GET /api/v1/runs lists what there is.")

    async def layers(self, run: str, min_wd: float | None = None) -> list[LayerSummary]:
        return [counted(layer, projection, min_wd) for layer in range(BLOCKS) for projection in NEURONS]

    async def layer(
        self,
        run: str,
        layer: int,
        projection: str,
        metrics: Sequence[str] = ("wd",),
        *,
        pruning: str | None = None,
        expansion: str | None = None,
    ) -> LayerValues:
        self._known(layer, projection, 0)
        self._named(metrics, pruning, expansion)
        return layer_values(layer, projection, metrics, bool(pruning), bool(expansion))

    async def correlation(
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
        self._named([x, y], pruning, expansion)
        if Metric(x).needs or Metric(y).needs:
            return Correlation(x=Metric(x), y=Metric(y), n=0, pearson=None, spearman=None)
        return correlation(layer, projection, Metric(x), Metric(y))

    async def map(
        self,
        run: str,
        metric: str = "wd",
        bins: int | None = None,
        projection: str | None = None,
        *,
        pruning: str | None = None,
        expansion: str | None = None,
        **part: int,
    ) -> RunMap:
        self._named([metric], pruning, expansion)
        query = MapQuery.model_validate({"projection": projection, **part})
        if query.first_layer >= BLOCKS:
            raise InvalidRequest(f"This run has no block {query.first_layer}.")
        return run_map(Metric(metric), bins or MAP_BINS, bool(pruning), bool(expansion), query)

    def _named(self, metrics: Sequence[str], pruning: str | None, expansion: str | None) -> None:
        """Refuses a metric whose pruning or expansion is not named, as the service does."""
        have = {kind for kind, name in zip(VariantKind, (pruning, expansion), strict=True) if name}
        for metric in metrics:
            if Metric(metric).needs - have:
                raise InvalidRequest(f"'{metric}' needs more to be named.")

    async def neurons(self, run: str, **query: Any) -> Page[NeuronRow]:
        layers = range(BLOCKS) if query["layer"] is None else [query["layer"]]
        names = list(NEURONS) if query["projection"] is None else [query["projection"]]
        kinds = (bool(query.get("pruning")), bool(query.get("expansion")))
        found = [with_effects(r, *kinds) for layer in layers for name in names for r in rows(layer, name)]
        key = str(query["sort"]).lstrip("-")

        def by(found: NeuronRow) -> Any:
            return getattr(found.effects if hasattr(found.effects, key) else found, key)

        known = sorted((r for r in found if by(r) is not None), key=by, reverse=query["sort"][0] == "-")
        every = [*known, *(r for r in found if by(r) is None)]
        offset, limit = query["offset"], query["limit"]
        return Page(items=every[offset : offset + limit], total=len(every), limit=limit, offset=offset)

    async def neuron(self, run: str, layer: int, projection: str, index: int) -> NeuronDetail:
        self._known(layer, projection, index)
        return detail(run, layer, projection, index)

    async def distributions(
        self,
        run: str,
        layer: int,
        projection: str,
        index: int,
        *,
        pruning: str | None = None,
        expansion: str | None = None,
    ) -> NeuronDistributions:
        self._known(layer, projection, index)
        return fake_variants.distributions(layer, projection, index, bool(pruning), bool(expansion))

    async def outputs(self, run: str, layer: int, projection: str) -> LayerOutputs:
        return self.layer_outputs

    async def store_outputs(self, run: str, layer: int, projection: str) -> OutputsSubmitted:
        return OutputsSubmitted(outputs=self.layer_outputs, job=fake_outputs.a_job())

    async def tokens(self, run: str, layer: int, projection: str, index: int, **query: Any) -> NeuronOutputs:
        self.asked.append(query)
        return fake_outputs.tokens(**query)

    async def pairs(self, run: str, layer: int, projection: str, index: int, **query: Any) -> NeuronPairs:
        return fake_outputs.pairs(query.get("expansion") is not None)

    async def wd_interval(self, run: str, layer: int, projection: str, index: int) -> WdInterval:
        return fake_outputs.interval(row(layer, projection, index).wd)

    async def experts(self, run: str, expansion: str, layer: int, projection: str) -> list[ExpertTokens]:
        return fake_variants.expert_tokens()

    async def prunings(self, run: str, *, limit: int = 50, offset: int = 0) -> Page[Pruning]:
        return Page(items=self.made_prunings, total=len(self.made_prunings), limit=limit, offset=offset)

    async def expansions(self, run: str, *, limit: int = 50, offset: int = 0) -> Page[Expansion]:
        return Page(items=self.made_expansions, total=len(self.made_expansions), limit=limit, offset=offset)

    async def pruning(self, run: str, pruning: str) -> Pruning:
        return next(p for p in self.made_prunings if p.id == pruning)

    async def expansion(self, run: str, expansion: str) -> Expansion:
        return next(e for e in self.made_expansions if e.id == expansion)

    async def estimate_pruning(self, run: str, request: PruningRequest) -> Estimate:
        return fake_variants.ESTIMATE

    async def estimate_expansion(self, run: str, request: ExpansionRequest) -> Estimate:
        return fake_variants.ESTIMATE

    async def prune(self, run: str, request: PruningRequest) -> PruningSubmitted:
        self.submitted.append(request)
        return PruningSubmitted(
            pruning=self.made_prunings[0], job=None, estimate=await self.estimate_pruning(run, request)
        )

    async def expand(self, run: str, request: ExpansionRequest) -> ExpansionSubmitted:
        self.submitted.append(request)
        return ExpansionSubmitted(
            expansion=self.made_expansions[0], job=None, estimate=await self.estimate_expansion(run, request)
        )

    async def jobs(self, limit: int = 50, offset: int = 0, **which: str) -> Page[Job]:
        found = [job for job in self._jobs if all(getattr(job, key) == v for key, v in which.items())]
        return Page(items=found[:limit], total=len(found), limit=limit, offset=offset)

    async def job(self, job: str) -> Job:
        for found in self._jobs:
            if found.id == job:
                return found
        raise NotFound(f"There is no job {job!r}.")

    async def cancel(self, job: str) -> Job:
        self._jobs = [
            j.model_copy(update={"state": JobState.cancelled}) if j.id == job else j for j in self._jobs
        ]
        return await self.job(job)

    async def retry(self, job: str) -> Job:
        self._jobs = [
            j.model_copy(update={"state": JobState.queued}) if j.id == job else j for j in self._jobs
        ]
        return await self.job(job)

    async def evaluations(self, run: str, *, limit: int = 50, offset: int = 0) -> Page[Evaluation]:
        return Page(items=self.made_evaluations, total=len(self.made_evaluations), limit=limit, offset=offset)

    async def evaluation(self, run: str, evaluation: str) -> Evaluation:
        return next(e for e in self.made_evaluations if e.id == evaluation)

    async def log(self, job: str) -> JobLog:
        return JobLog(job=job, lines=["loading the model", "scoring block 1 of 6"], total=2)

    def _known(self, layer: int, projection: str, index: int) -> None:
        if layer >= BLOCKS or index >= NEURONS.get(projection, 0):
            raise NotFound(
                f"There is no neuron {layer}.{projection}.{index}.", hint="The map shows what there is."
            )
