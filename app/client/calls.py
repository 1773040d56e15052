"""Every call of the API: what is sent, and how its answer or its problem is read. Nothing is sent from here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.errors import ApiUnreachable, WasserscopeError, error_from_code
from app.schemas.corpus import Corpus, CorpusText
from app.schemas.health import Health
from app.schemas.job import Job, JobLog
from app.schemas.layer import LayerSummary, LayerValues, RunMap
from app.schemas.model import InspectRequest, ModelInspection, ModelSources
from app.schemas.neuron import NeuronDetail, NeuronRow
from app.schemas.page import Page
from app.schemas.problem import Problem
from app.schemas.run import Run, RunRequest, RunSubmitted

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
    def layers(run: str) -> Call[Page[LayerSummary]]:
        return Call("GET", f"/runs/{run}/layers", Page[LayerSummary])

    @staticmethod
    def layer(run: str, layer: int, projection: str, metrics: Sequence[str]) -> Call[LayerValues]:
        return Call(
            "GET", f"/runs/{run}/layers/{layer}/{projection}", LayerValues, {"metrics": list(metrics)}
        )

    @staticmethod
    def map(run: str, metric: str, bins: int, projection: str | None) -> Call[RunMap]:
        params = {"metric": metric, "bins": bins, "projection": projection}
        return Call("GET", f"/runs/{run}/map", RunMap, params)

    @staticmethod
    def neurons(run: str, query: dict[str, Any]) -> Call[Page[NeuronRow]]:
        return Call("GET", f"/runs/{run}/neurons", Page[NeuronRow], query)

    @staticmethod
    def neuron(run: str, layer: int, projection: str, index: int) -> Call[NeuronDetail]:
        return Call("GET", f"/runs/{run}/layers/{layer}/{projection}/neurons/{index}", NeuronDetail)

    @staticmethod
    def jobs(limit: int, offset: int) -> Call[Page[Job]]:
        return Call("GET", "/jobs", Page[Job], {"limit": limit, "offset": offset})

    @staticmethod
    def job(job: str) -> Call[Job]:
        return Call("GET", f"/jobs/{job}", Job)

    @staticmethod
    def cancel(job: str) -> Call[Job]:
        return Call("POST", f"/jobs/{job}/cancel", Job)

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
    detail = "; ".join([problem.detail, *(f"{part.field}: {part.message}" for part in problem.errors)])
    return error_from_code(problem.code, detail, hint=problem.hint)


def headers(token: str | None) -> dict[str, str]:
    """What shows the token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def unreachable(url: httpx.URL, error: Exception) -> ApiUnreachable:
    """The exception for a service that does not answer."""
    return ApiUnreachable(
        f"Nothing answers at {url}: {error or type(error).__name__}.",
        hint="Start it with `wasserscope up`, or give its address with --url or WASSERSCOPE_HOST and WASSERSCOPE_PORT.",
    )
