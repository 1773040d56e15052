"""Every call of the API: what is sent, and how its answer or its problem is read. Nothing is sent from here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.errors import ApiUnreachable, WasserscopeError
from app.schemas.corpus import Corpus, CorpusText
from app.schemas.difference import NeuronDifference
from app.schemas.distribution import NeuronDistributions
from app.schemas.evaluation import Evaluation, EvaluationRequest, EvaluationSubmitted
from app.schemas.expansion import Expansion, ExpansionRequest, ExpansionSubmitted, ExpertTokens
from app.schemas.health import Health
from app.schemas.job import Job, JobLog
from app.schemas.layer import Correlation, LayerSummary, LayerValues, RunMap
from app.schemas.model import Estimate, InspectRequest, ModelInspection, ModelSources
from app.schemas.neuron import NeuronDetail, NeuronRow
from app.schemas.outputs import LayerOutputs, NeuronOutputs, NeuronPairs, OutputsSubmitted, WdInterval
from app.schemas.page import Page
from app.schemas.problem import Problem
from app.schemas.pruning import Pruning, PruningRequest, PruningSubmitted
from app.schemas.run import Run, RunRequest, RunSubmitted
from app.schemas.sweep import NeuronSweep, Sweep, SweepRequest, SweepSubmitted

T = TypeVar("T")
PREFIX = "/api/v1"
WAITS_SECONDS = (0.2, 0.5, 1.0)
"""Waits between the tries of a read."""
POLL_SECONDS = 0.5
"""How often a job is asked for where its stream of events broke."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and how to read its answer."""

    method: str
    path: str
    type: Any
    params: dict[str, Any] = field(default_factory=dict)
    body: BaseModel | None = None

    def waits(self, between: Sequence[float]) -> list[float | None]:
        """Waits after each failed try; None after the last. A write is sent once."""
        return [*(between if self.method == "GET" else ()), None]

    def request(self) -> dict[str, Any]:
        """Arguments for httpx."""
        params = {name: value for name, value in self.params.items() if value is not None}
        made: dict[str, Any] = {"method": self.method, "url": PREFIX + self.path, "params": params}
        if self.body is not None:
            made["json"] = self.body.model_dump(mode="json")
        return made

    def read(self, answer: httpx.Response) -> T:
        """The answer as its type, or the exception of its problem."""
        if answer.is_error:
            raise error_of(answer)
        if self.type is None:
            return None  # type: ignore[return-value]
        try:
            value: T = TypeAdapter(self.type).validate_json(answer.content)
        except ValidationError as error:
            raise WasserscopeError(
                f"{answer.request.url} answered with something else than was expected ({error.error_count()} differences).",
                hint="Is this the address of a Wasserscope, of this client's version?",
            ) from error
        return value


class JobEvents:
    """Reads a stream of server-sent events line by line; `final` once the job has ended."""

    def __init__(self) -> None:
        self.final = False

    def feed(self, line: str) -> Job | None:
        """The job that `line` carries, if it carries one."""
        if not line.startswith("data:"):
            return None
        job = Job.model_validate_json(line.removeprefix("data:"))
        self.final = job.state.final
        return job


class Calls:
    """Every call of the API."""

    @staticmethod
    def health() -> Call[Health]:
        return Call("GET", "/health", Health)

    @staticmethod
    def models() -> Call[ModelSources]:
        return Call("GET", "/models", ModelSources)

    @staticmethod
    def inspect(model: str, tokens: int, window: int) -> Call[ModelInspection]:
        body = InspectRequest(model=model, tokens=tokens, window=window)
        return Call("POST", "/models/inspect", ModelInspection, body=body)

    @staticmethod
    def corpora() -> Call[Page[Corpus]]:
        return Call("GET", "/corpora", Page[Corpus])

    @staticmethod
    def post_text(text: str, title: str) -> Call[Corpus]:
        return Call("POST", "/corpora", Corpus, body=CorpusText(text=text, title=title))

    @staticmethod
    def submit(request: RunRequest) -> Call[RunSubmitted]:
        return Call("POST", "/runs", RunSubmitted, body=request)

    @staticmethod
    def runs(limit: int, offset: int) -> Call[Page[Run]]:
        return Call("GET", "/runs", Page[Run], {"limit": limit, "offset": offset})

    @staticmethod
    def run(run: str) -> Call[Run]:
        return Call("GET", f"/runs/{run}", Run)

    @staticmethod
    def delete_run(run: str) -> Call[None]:
        return Call("DELETE", f"/runs/{run}", None)

    @staticmethod
    def layers(run: str, min_wd: float | None) -> Call[Page[LayerSummary]]:
        return Call("GET", f"/runs/{run}/layers", Page[LayerSummary], {"min_wd": min_wd})

    @staticmethod
    def layer(
        run: str, layer: int, projection: str, metrics: Sequence[str], **variants: str | None
    ) -> Call[LayerValues]:
        params = {"metrics": list(metrics), **variants}
        return Call("GET", f"/runs/{run}/layers/{layer}/{projection}", LayerValues, params)

    @staticmethod
    def correlation(
        run: str, layer: int, projection: str, x: str, y: str, **variants: str | None
    ) -> Call[Correlation]:
        path = f"/runs/{run}/layers/{layer}/{projection}/correlation"
        return Call("GET", path, Correlation, {"x": x, "y": y, **variants})

    @staticmethod
    def map(run: str, query: dict[str, Any]) -> Call[RunMap]:
        return Call("GET", f"/runs/{run}/map", RunMap, query)

    @staticmethod
    def differences(run: str, query: dict[str, Any]) -> Call[Page[NeuronDifference]]:
        return Call("GET", f"/runs/{run}/differences", Page[NeuronDifference], query)

    @staticmethod
    def neurons(run: str, query: dict[str, Any]) -> Call[Page[NeuronRow]]:
        return Call("GET", f"/runs/{run}/neurons", Page[NeuronRow], query)

    @staticmethod
    def neuron(run: str, layer: int, projection: str, index: int) -> Call[NeuronDetail]:
        return Call("GET", f"/runs/{run}/layers/{layer}/{projection}/neurons/{index}", NeuronDetail)

    @staticmethod
    def distributions(
        run: str, layer: int, projection: str, index: int, **variants: str | None
    ) -> Call[NeuronDistributions]:
        path = f"/runs/{run}/layers/{layer}/{projection}/neurons/{index}/distributions"
        return Call("GET", path, NeuronDistributions, variants)

    @staticmethod
    def store_outputs(run: str, layer: int, projection: str) -> Call[OutputsSubmitted]:
        return Call("POST", f"/runs/{run}/layers/{layer}/{projection}/outputs", OutputsSubmitted)

    @staticmethod
    def outputs(run: str, layer: int, projection: str) -> Call[LayerOutputs]:
        return Call("GET", f"/runs/{run}/layers/{layer}/{projection}/outputs", LayerOutputs)

    @staticmethod
    def delete_outputs(run: str, layer: int, projection: str) -> Call[None]:
        return Call("DELETE", f"/runs/{run}/layers/{layer}/{projection}/outputs", None)

    @staticmethod
    def stored_outputs(run: str, limit: int, offset: int) -> Call[Page[LayerOutputs]]:
        return Call("GET", f"/runs/{run}/outputs", Page[LayerOutputs], {"limit": limit, "offset": offset})

    @staticmethod
    def tokens(run: str, layer: int, projection: str, index: int, **query: Any) -> Call[NeuronOutputs]:
        path = f"/runs/{run}/layers/{layer}/{projection}/neurons/{index}/tokens"
        return Call("GET", path, NeuronOutputs, query)

    @staticmethod
    def pairs(run: str, layer: int, projection: str, index: int, **query: Any) -> Call[NeuronPairs]:
        path = f"/runs/{run}/layers/{layer}/{projection}/neurons/{index}/pairs"
        return Call("GET", path, NeuronPairs, query)

    @staticmethod
    def wd_interval(run: str, layer: int, projection: str, index: int, **query: Any) -> Call[WdInterval]:
        path = f"/runs/{run}/layers/{layer}/{projection}/neurons/{index}/wd-interval"
        return Call("GET", path, WdInterval, query)

    @staticmethod
    def prune(run: str, request: PruningRequest) -> Call[PruningSubmitted]:
        return Call("POST", f"/runs/{run}/prunings", PruningSubmitted, body=request)

    @staticmethod
    def estimate_pruning(run: str, request: PruningRequest) -> Call[Estimate]:
        return Call("POST", f"/runs/{run}/prunings/estimate", Estimate, body=request)

    @staticmethod
    def prunings(run: str, limit: int, offset: int) -> Call[Page[Pruning]]:
        return Call("GET", f"/runs/{run}/prunings", Page[Pruning], {"limit": limit, "offset": offset})

    @staticmethod
    def pruning(run: str, pruning: str) -> Call[Pruning]:
        return Call("GET", f"/runs/{run}/prunings/{pruning}", Pruning)

    @staticmethod
    def delete_pruning(run: str, pruning: str) -> Call[None]:
        return Call("DELETE", f"/runs/{run}/prunings/{pruning}", None)

    @staticmethod
    def expand(run: str, request: ExpansionRequest) -> Call[ExpansionSubmitted]:
        return Call("POST", f"/runs/{run}/expansions", ExpansionSubmitted, body=request)

    @staticmethod
    def estimate_expansion(run: str, request: ExpansionRequest) -> Call[Estimate]:
        return Call("POST", f"/runs/{run}/expansions/estimate", Estimate, body=request)

    @staticmethod
    def expansions(run: str, limit: int, offset: int) -> Call[Page[Expansion]]:
        return Call("GET", f"/runs/{run}/expansions", Page[Expansion], {"limit": limit, "offset": offset})

    @staticmethod
    def expansion(run: str, expansion: str) -> Call[Expansion]:
        return Call("GET", f"/runs/{run}/expansions/{expansion}", Expansion)

    @staticmethod
    def delete_expansion(run: str, expansion: str) -> Call[None]:
        return Call("DELETE", f"/runs/{run}/expansions/{expansion}", None)

    @staticmethod
    def experts(run: str, expansion: str, layer: int, projection: str) -> Call[Page[ExpertTokens]]:
        path = f"/runs/{run}/expansions/{expansion}/layers/{layer}/{projection}/experts"
        return Call("GET", path, Page[ExpertTokens])

    @staticmethod
    def export(run: str, variant: str) -> Call[Job]:
        noun = "expansions" if variant.startswith("x-") else "prunings"
        return Call("POST", f"/runs/{run}/{noun}/{variant}/export", Job)

    @staticmethod
    def evaluate(run: str, request: EvaluationRequest) -> Call[EvaluationSubmitted]:
        return Call("POST", f"/runs/{run}/evaluations", EvaluationSubmitted, body=request)

    @staticmethod
    def estimate_evaluation(run: str, request: EvaluationRequest) -> Call[Estimate]:
        return Call("POST", f"/runs/{run}/evaluations/estimate", Estimate, body=request)

    @staticmethod
    def evaluations(run: str, limit: int, offset: int) -> Call[Page[Evaluation]]:
        return Call("GET", f"/runs/{run}/evaluations", Page[Evaluation], {"limit": limit, "offset": offset})

    @staticmethod
    def evaluation(run: str, evaluation: str) -> Call[Evaluation]:
        return Call("GET", f"/runs/{run}/evaluations/{evaluation}", Evaluation)

    @staticmethod
    def delete_evaluation(run: str, evaluation: str) -> Call[None]:
        return Call("DELETE", f"/runs/{run}/evaluations/{evaluation}", None)

    @staticmethod
    def sweep(run: str, request: SweepRequest) -> Call[SweepSubmitted]:
        return Call("POST", f"/runs/{run}/sweeps", SweepSubmitted, body=request)

    @staticmethod
    def estimate_sweep(run: str, request: SweepRequest) -> Call[Estimate]:
        return Call("POST", f"/runs/{run}/sweeps/estimate", Estimate, body=request)

    @staticmethod
    def sweeps(run: str, limit: int, offset: int, **layer: str | int | None) -> Call[Page[Sweep]]:
        return Call("GET", f"/runs/{run}/sweeps", Page[Sweep], {"limit": limit, "offset": offset, **layer})

    @staticmethod
    def one_sweep(run: str, sweep: str) -> Call[Sweep]:
        return Call("GET", f"/runs/{run}/sweeps/{sweep}", Sweep)

    @staticmethod
    def delete_sweep(run: str, sweep: str) -> Call[None]:
        return Call("DELETE", f"/runs/{run}/sweeps/{sweep}", None)

    @staticmethod
    def neuron_sweep(run: str, layer: int, projection: str, index: int, sweep: str) -> Call[NeuronSweep]:
        path = f"/runs/{run}/layers/{layer}/{projection}/neurons/{index}/sweep"
        return Call("GET", path, NeuronSweep, {"sweep": sweep})

    @staticmethod
    def jobs(limit: int, offset: int, **filters: str | None) -> Call[Page[Job]]:
        return Call("GET", "/jobs", Page[Job], {"limit": limit, "offset": offset, **filters})

    @staticmethod
    def job(job: str) -> Call[Job]:
        return Call("GET", f"/jobs/{job}", Job)

    @staticmethod
    def cancel(job: str) -> Call[Job]:
        return Call("POST", f"/jobs/{job}/cancel", Job)

    @staticmethod
    def retry(job: str) -> Call[Job]:
        return Call("POST", f"/jobs/{job}/retry", Job)

    @staticmethod
    def log(job: str) -> Call[JobLog]:
        return Call("GET", f"/jobs/{job}/log", JobLog)


def error_of(answer: httpx.Response) -> WasserscopeError:
    """The exception that an error answer tells of."""
    try:
        problem = Problem.model_validate_json(answer.content)
    except (ValidationError, json.JSONDecodeError):
        return WasserscopeError(
            f"{answer.request.url} answered {answer.status_code} without a problem: {answer.text[:200]}",
            hint="Is this the address of a Wasserscope?",
        )
    return problem.to_error()


def headers(token: str | None) -> dict[str, str]:
    """What shows the token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def unreachable(url: httpx.URL, error: Exception) -> ApiUnreachable:
    """The exception for a service that does not answer."""
    return ApiUnreachable(
        f"Nothing answers at {url}: {error or type(error).__name__}.",
        hint="Start it with `wasserscope up`, or give its address with --url or WASSERSCOPE_HOST and WASSERSCOPE_PORT.",
    )
