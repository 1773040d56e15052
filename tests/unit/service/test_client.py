"""The client: what it sends again and what not, what it raises, and how it follows a job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from app.client import AsyncClient, Client
from app.errors import ApiUnreachable, CorpusError, FieldError, QueueUnavailable, WasserscopeError
from app.schemas.evaluation import EvaluationRequest
from app.schemas.expansion import ExpansionRequest
from app.schemas.job import Job, JobState, Progress
from app.schemas.page import Page
from app.schemas.problem import Problem
from app.schemas.pruning import PruningRequest
from app.schemas.run import RunRequest

Handler = Callable[[httpx.Request], httpx.Response]
EMPTY = Page[Job](items=[], total=0, limit=50, offset=0).model_dump_json()
DOWN = Problem.of(QueueUnavailable("Redis is gone.", hint="Start it."))


def job(fraction: float, state: JobState = JobState.running) -> Job:
    return Job(
        id="explore-tiny-1", kind="explore", state=state, run="tiny-1", progress=Progress(fraction=fraction)
    )


def problem(made: Problem) -> httpx.Response:
    return httpx.Response(made.status, content=made.model_dump_json())


class Service:
    """Answers what it is given, in order, the last one for ever; counts what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers, self.asked = list(answers), list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self) -> Client:
        return Client(
            "http://there", "word", transport=httpx.MockTransport(self), waits_seconds=(0.0, 0.0, 0.0)
        )


def ok() -> httpx.Response:
    return httpx.Response(200, content=EMPTY)


@pytest.mark.parametrize("failure", [problem(DOWN), httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
def test_a_read_is_sent_again(failure: httpx.Response | Exception) -> None:
    service = Service(failure, failure, ok())
    assert service.client().jobs().total == 0
    assert len(service.asked) == 3
    assert service.asked[0].headers["authorization"] == "Bearer word"


def test_a_read_is_not_sent_for_ever() -> None:
    service = Service(httpx.ConnectError("refused"))
    with pytest.raises(ApiUnreachable, match=r"http://there.*refused") as caught:
        service.client().jobs()
    assert "wasserscope up" in caught.value.hint
    assert len(service.asked) == 4


@pytest.mark.parametrize(
    ("failure", "kind"), [(problem(DOWN), QueueUnavailable), (httpx.ConnectError("no"), ApiUnreachable)]
)
def test_a_write_is_sent_once(failure: httpx.Response | Exception, kind: type[WasserscopeError]) -> None:
    service = Service(failure, ok())
    with pytest.raises(kind):
        service.client().submit(RunRequest())
    assert len(service.asked) == 1


def test_a_problem_is_raised_as_what_it_was() -> None:
    fields = [FieldError("body.tokens", "too few")]
    made = Problem.of(CorpusError("The text is short.", hint="Take a longer one.", errors=fields))
    with pytest.raises(CorpusError, match=r"^The text is short\.$") as caught:
        Service(problem(made)).client().submit(RunRequest())
    assert caught.value.hint == "Take a longer one."
    assert caught.value.errors == tuple(fields)


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<html>hello</html>"), httpx.Response(404, text="nothing here")]
)
def test_another_program_at_the_address_is_told_apart(answer: httpx.Response) -> None:
    with pytest.raises(WasserscopeError) as caught:
        Service(answer).client().jobs()
    assert "Is this the address of a Wasserscope" in caught.value.hint


def test_queries_leave_out_what_is_not_asked() -> None:
    service = Service(ok())
    service.client().neurons("tiny-1", sort="-md", layer=None, limit=5)
    assert dict(service.asked[0].url.params) == {"sort": "-md", "limit": "5"}


def stream(*jobs: Job, last: str = "end") -> httpx.Response:
    events = [f"event: progress\ndata: {one.model_dump_json()}\nid: {i}\n\n" for i, one in enumerate(jobs)]
    if last and jobs[-1].state.final:
        events[-1] = events[-1].replace("event: progress", f"event: {last}")
    return httpx.Response(200, content=": ping\n\n" + "".join(events))


def test_events_end_with_the_final_job() -> None:
    told = [job(0.1), job(0.5), job(1.0, JobState.finished)]
    service = Service(stream(*told))
    assert list(service.client().events("explore-tiny-1")) == told
    assert len(service.asked) == 1


@pytest.mark.parametrize("broken", [stream(job(0.1)), httpx.ReadError("reset")])
def test_a_broken_stream_goes_on_by_asking(
    broken: httpx.Response | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.client.calls.POLL_SECONDS", 0.0)
    last = job(1.0, JobState.failed)
    service = Service(broken, *(httpx.Response(200, content=j.model_dump_json()) for j in (job(0.4), last)))
    assert [found.progress.fraction for found in service.client().events("explore-tiny-1")][-2:] == [0.4, 1.0]


def test_the_asynchronous_client_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.client.calls.POLL_SECONDS", 0.0)
    last = httpx.Response(200, content=job(1.0, JobState.cancelled).model_dump_json())
    service = Service(problem(DOWN), ok(), stream(job(0.1)), last)

    async def use() -> list[float]:
        client = AsyncClient("http://there", transport=httpx.MockTransport(service), waits_seconds=(0.0, 0.0))
        assert (await client.jobs()).total == 0
        found = [one.progress.fraction async for one in client.events("explore-tiny-1")]
        await client.close()
        return found

    assert asyncio.run(use()) == [0.1, 1.0]


def test_both_clients_have_the_same_methods() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(Client) == names(AsyncClient)


EMPTY_PAGE = '{"items": [], "total": 0, "limit": 0, "offset": 0}'
RUN = "tiny-run-1"
PRUNING, EXPANSION = "p-0123456789ab", "x-0123456789ab"
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str, dict[str, str]]] = [
    ("prunings", (RUN,), {"limit": 5}, "GET /prunings", {"limit": "5", "offset": "0"}),
    ("expansions", (RUN,), {}, "GET /expansions", {"limit": "50", "offset": "0"}),
    ("evaluations", (RUN,), {"offset": 2}, "GET /evaluations", {"limit": "50", "offset": "2"}),
    ("delete_pruning", (RUN, PRUNING), {}, f"DELETE /prunings/{PRUNING}", {}),
    ("delete_expansion", (RUN, EXPANSION), {}, f"DELETE /expansions/{EXPANSION}", {}),
    ("delete_evaluation", (RUN, "e-0123456789ab"), {}, "DELETE /evaluations/e-0123456789ab", {}),
    ("experts", (RUN, EXPANSION, 3, "up"), {}, f"GET /expansions/{EXPANSION}/layers/3/up/experts", {}),
    (
        "neurons",
        (RUN,),
        {"pruning": PRUNING, "sort": "-ri"},
        "GET /neurons",
        {"pruning": PRUNING, "sort": "-ri"},
    ),
]


@pytest.mark.parametrize(("name", "arguments", "options", "sent", "query"), CALLS)
def test_calls_about_what_is_made_from_a_run(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any], sent: str, query: dict[str, str]
) -> None:
    service = Service(*(httpx.Response(200, content=EMPTY_PAGE) for _ in range(2)))
    method, path = sent.split(" ")
    getattr(service.client(), name)(*arguments, **options)

    async def awaited() -> None:
        client = AsyncClient("http://there", transport=httpx.MockTransport(service), waits_seconds=())
        await getattr(client, name)(*arguments, **options)
        await client.close()

    asyncio.run(awaited())
    for request in service.asked:
        assert (request.method, request.url.path) == (method, f"/api/v1/runs/{RUN}{path}")
        assert dict(request.url.params) == query


@pytest.mark.parametrize(
    ("name", "request_", "path"),
    [
        ("prune", PruningRequest(layers=[3], sparsity=0.9), "prunings"),
        ("estimate_pruning", PruningRequest(pattern="2:4"), "prunings/estimate"),
        ("expand", ExpansionRequest(experts=4), "expansions"),
        ("estimate_expansion", ExpansionRequest(projections=["up"]), "expansions/estimate"),
        ("evaluate", EvaluationRequest(variants=[PRUNING]), "evaluations"),
    ],
)
def test_requests_are_sent_whole_and_once(name: str, request_: BaseModel, path: str) -> None:
    service = Service(problem(DOWN), ok())
    with pytest.raises(QueueUnavailable):
        getattr(service.client(), name)(RUN, request_)
    [request] = service.asked
    assert (request.method, request.url.path) == ("POST", f"/api/v1/runs/{RUN}/{path}")
    assert type(request_).model_validate_json(request.content) == request_


@pytest.mark.parametrize(("variant", "noun"), [(PRUNING, "prunings"), (EXPANSION, "expansions")])
def test_an_export_goes_where_its_variant_is(variant: str, noun: str) -> None:
    service = Service(httpx.Response(202, content=job(0.0).model_dump_json()))
    assert service.client().export(RUN, variant) == job(0.0)
    assert service.asked[0].url.path == f"/api/v1/runs/{RUN}/{noun}/{variant}/export"


def test_effects_of_variants_are_asked_for_by_name() -> None:
    service = Service(problem(DOWN))
    client = Client("http://there", transport=httpx.MockTransport(service), waits_seconds=())
    asks: list[Callable[[], object]] = [
        lambda: client.layer(RUN, 3, "up", ["ri", "wd"], pruning=PRUNING, expansion=EXPANSION),
        lambda: client.map(RUN, "pruned_w1", pruning=PRUNING),
        lambda: client.distributions(RUN, 3, "up", 7, expansion=EXPANSION),
    ]
    for ask in asks:
        with pytest.raises(QueueUnavailable):
            ask()
    assert [request.url.path.removeprefix(f"/api/v1/runs/{RUN}") for request in service.asked] == [
        "/layers/3/up",
        "/map",
        "/layers/3/up/neurons/7/distributions",
    ]
    assert [dict(request.url.params.multi_items()) for request in service.asked] == [
        {"metrics": "wd", "pruning": PRUNING, "expansion": EXPANSION},
        {"metric": "pruned_w1", "pruning": PRUNING},
        {"expansion": EXPANSION},
    ]
