"""The typed REST client, sync and async: scripts, the command line and the dashboard all use this one.

    client = Client("http://127.0.0.1:8000")
    submitted = client.submit(RunRequest(model="demo"))
    for job in client.events(submitted.job.id):
        print(job.progress.phase)
    rows = client.neurons(submitted.run.id, sort="-wd", limit=20).items

Every method raises the exception of `app.errors` that the service's problem names; ApiUnreachable when nothing answers.
Reads are tried again, with back-off, when the service answers 503 or the connection breaks; writes are sent once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
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

log = logging.getLogger("wasserscope.client")


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
            base_url=url, headers=_headers(token), timeout=timeout_seconds, transport=transport
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

    def layers(self, run: str) -> list[LayerSummary]:
        """A summary of each layer."""
        return self._send(Calls.layers(run)).items

    def layer(self, run: str, layer: int, projection: str, metrics: Sequence[str] = ("wd",)) -> LayerValues:
        """Metrics of all neurons of a layer."""
        return self._send(Calls.layer(run, layer, projection, metrics))

    def map(self, run: str, metric: str = "wd", bins: int = 512, projection: str | None = None) -> RunMap:
        """The Wasserstein map."""
        return self._send(Calls.map(run, metric, bins, projection))

    def neurons(self, run: str, **query: Any) -> Page[NeuronRow]:
        """A page of neurons; `query` has the fields of NeuronQuery."""
        return self._send(Calls.neurons(run, query))

    def neuron(self, run: str, layer: int, projection: str, index: int) -> NeuronDetail:
        """All that is known of one neuron."""
        return self._send(Calls.neuron(run, layer, projection, index))

    def jobs(self, *, limit: int = 50, offset: int = 0) -> Page[Job]:
        """Jobs, the newest first."""
        return self._send(Calls.jobs(limit, offset))

    def job(self, job: str) -> Job:
        """One job."""
        return self._send(Calls.job(job))

    def cancel(self, job: str) -> Job:
        """Ask a job to stop."""
        return self._send(Calls.cancel(job))

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
                time.sleep(POLL_SECONDS)

    def _send(self, call: Call[T]) -> T:
        for wait in call.waits(self._waits):
            try:
                answer = self._http.request(**call.request())
            except httpx.TransportError as error:
                if wait is None:
                    raise _unreachable(self._http.base_url, error) from error
            else:
                if answer.status_code != 503 or wait is None:
                    return call.read(answer)
            time.sleep(wait)
        raise ApiUnreachable("No try was made.")


class AsyncClient:
    """The asynchronous client: the same calls, awaited."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout_seconds: float = 30.0,
        waits_seconds: Sequence[float] = WAITS_SECONDS,
    ) -> None:
        self._waits = waits_seconds
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(token), timeout=timeout_seconds, transport=transport
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def health(self) -> Health:
        """The service and what it rests on."""
        return await self._send(Calls.health())

    async def models(self) -> ModelSources:
        """Models that can be named."""
        return await self._send(Calls.models())

    async def inspect(self, model: str, *, tokens: int = 8192, window: int = 512) -> ModelInspection:
        """A model's layers and what a run on it would take."""
        return await self._send(Calls.inspect(model, tokens, window))

    async def corpora(self) -> Page[Corpus]:
        """Texts that can be named."""
        return await self._send(Calls.corpora())

    async def post_text(self, text: str, title: str = "posted text") -> Corpus:
        """Keep a text as a corpus."""
        return await self._send(Calls.post_text(text, title))

    async def submit(self, request: RunRequest) -> RunSubmitted:
        """Start a run, join the one under way, or get the finished one."""
        return await self._send(Calls.submit(request))

    async def runs(self, *, limit: int = 50, offset: int = 0) -> Page[Run]:
        """Runs, the newest first."""
        return await self._send(Calls.runs(limit, offset))

    async def run(self, run: str) -> Run:
        """One run."""
        return await self._send(Calls.run(run))

    async def delete_run(self, run: str) -> None:
        """Remove a run and all it stored."""
        await self._send(Calls.delete_run(run))

    async def layers(self, run: str) -> list[LayerSummary]:
        """A summary of each layer."""
        return (await self._send(Calls.layers(run))).items

    async def layer(
        self, run: str, layer: int, projection: str, metrics: Sequence[str] = ("wd",)
    ) -> LayerValues:
        """Metrics of all neurons of a layer."""
        return await self._send(Calls.layer(run, layer, projection, metrics))

    async def map(
        self, run: str, metric: str = "wd", bins: int = 512, projection: str | None = None
    ) -> RunMap:
        """The Wasserstein map."""
        return await self._send(Calls.map(run, metric, bins, projection))

    async def neurons(self, run: str, **query: Any) -> Page[NeuronRow]:
        """A page of neurons; `query` has the fields of NeuronQuery."""
        return await self._send(Calls.neurons(run, query))

    async def neuron(self, run: str, layer: int, projection: str, index: int) -> NeuronDetail:
        """All that is known of one neuron."""
        return await self._send(Calls.neuron(run, layer, projection, index))

    async def jobs(self, *, limit: int = 50, offset: int = 0) -> Page[Job]:
        """Jobs, the newest first."""
        return await self._send(Calls.jobs(limit, offset))

    async def job(self, job: str) -> Job:
        """One job."""
        return await self._send(Calls.job(job))

    async def cancel(self, job: str) -> Job:
        """Ask a job to stop."""
        return await self._send(Calls.cancel(job))

    async def log(self, job: str) -> JobLog:
        """What a job wrote."""
        return await self._send(Calls.log(job))

    async def events(self, job: str) -> AsyncIterator[Job]:
        """The job at each change until it ends; the last one is final. Goes on by asking if the stream breaks."""
        events = JobEvents()
        try:
            async with self._http.stream("GET", f"{PREFIX}/jobs/{job}/events") as answer:
                if answer.is_error:
                    await answer.aread()
                    raise error_of(answer)
                async for line in answer.aiter_lines():
                    found = events.feed(line)
                    if found is not None:
                        yield found
                    if events.final:
                        return
        except httpx.TransportError as error:
            log.info("the stream of job %s broke (%s); asking instead", job, error)
        while not events.final:
            found = await self.job(job)
            events.final = found.state.final
            yield found
            if not events.final:
                await asyncio.sleep(POLL_SECONDS)

    async def _send(self, call: Call[T]) -> T:
        for wait in call.waits(self._waits):
            try:
                answer = await self._http.request(**call.request())
            except httpx.TransportError as error:
                if wait is None:
                    raise _unreachable(self._http.base_url, error) from error
            else:
                if answer.status_code != 503 or wait is None:
                    return call.read(answer)
            await asyncio.sleep(wait)
        raise ApiUnreachable("No try was made.")


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


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _unreachable(url: httpx.URL, error: Exception) -> ApiUnreachable:
    return ApiUnreachable(
        f"Nothing answers at {url}: {error or type(error).__name__}.",
        hint="Start it with `wasserscope up`, or give its address with --url or WASSERSCOPE_HOST and WASSERSCOPE_PORT.",
    )
