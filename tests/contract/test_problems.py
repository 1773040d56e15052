"""Every failure has one shape: application/problem+json with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from app.errors import FieldError, WasserscopeError, error_from_code
from app.schemas.problem import Problem
from tests.contract.conftest import FakeQueue

KEYS = {"type", "title", "status", "detail", "hint", "code", "errors"}


def check(answer: Response, status: int, code: str, word: str) -> Problem:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == KEYS
    problem = Problem.model_validate(answer.json())
    assert (problem.status, problem.code) == (status, code)
    assert word in problem.detail + problem.hint + str(problem.errors)
    assert problem.hint
    return problem


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "word"),
    [
        ("GET", "/v1/nowhere", 404, "not-found", "/v1/nowhere"),
        ("GET", "/elsewhere", 404, "not-found", "/elsewhere"),
        ("PUT", "/v1/runs", 405, "method-not-allowed", "PUT"),
        ("GET", "/v1/runs/no-such-run-at-all", 404, "not-found", "no-such-run-at-all"),
        ("GET", "/v1/runs/no-such-run-at-all/layers", 404, "not-found", "no-such-run-at-all"),
        ("DELETE", "/v1/runs/no-such-run-at-all", 404, "not-found", "no-such-run-at-all"),
        ("GET", "/v1/runs/UPPER", 422, "invalid-request", "path.run"),
        ("GET", "/v1/runs?limit=-1", 422, "invalid-request", "query.limit"),
        ("GET", "/v1/runs?limit=1001", 422, "invalid-request", "1000"),
        ("GET", "/v1/jobs/no-such-job", 404, "not-found", "no-such-job"),
        ("GET", "/v1/jobs/no-such-job/events", 404, "not-found", "no-such-job"),
        ("GET", "/v1/jobs?state=sleeping", 422, "invalid-request", "query.state"),
    ],
)
def test_shape_of_plain_failures(
    api: TestClient, method: str, path: str, status: int, code: str, word: str
) -> None:
    check(api.request(method, path), status, code, word)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/layers/99/gate_proj", "Blocks go from 0"),
        ("/layers/0/attn", "projections are"),
        ("/layers/0/gate_proj/neurons/99999", "99999"),
    ],
)
def test_what_a_run_does_not_have_is_named(api: TestClient, run: str, path: str, word: str) -> None:
    check(api.get(f"/v1/runs/{run}{path}"), 404, "not-found", word)


@pytest.mark.parametrize(
    ("body", "status", "code", "word"),
    [
        ({"tokens": 0}, 422, "invalid-request", "body.tokens"),
        ({"tokens": -5}, 422, "invalid-request", "body.tokens"),
        ({"tokens": 10**12}, 422, "invalid-request", "may have at most"),
        ({"window": 100_000}, 422, "invalid-request", "longer than the context"),
        ({"tokens": "many"}, 422, "invalid-request", "body.tokens"),
        ({"modle": "demo"}, 422, "invalid-request", "body.modle"),
        ({"model": "gpt5"}, 422, "invalid-request", "body.model"),
        ({"model": "path:nothing-here"}, 404, "model-not-found", "nothing-here"),
        ({"model": "path:../../etc"}, 422, "unsafe-file", "WASSERSCOPE_MODEL_ROOT"),
        ({"model": "gguf:/etc/passwd.gguf"}, 422, "unsafe-file", "WASSERSCOPE_MODEL_ROOT"),
        ({"model": "hub:acme/no-such-model"}, 502, "hub-unreachable", "acme/no-such-model"),
        ({"corpus": "file:../secret.txt"}, 422, "unsafe-file", "WASSERSCOPE_CORPUS_ROOT"),
        ({"corpus": "file:none.txt"}, 422, "corpus", "none.txt"),
        ({"corpus": "text:0123456789abcdef"}, 404, "not-found", "0123456789abcdef"),
    ],
)
def test_bad_runs_are_refused_and_not_listed(
    api: TestClient, queue: FakeQueue, body: dict[str, object], status: int, code: str, word: str
) -> None:
    check(api.post("/v1/runs", json=body), status, code, word)
    assert api.get("/v1/runs").json()["total"] == 0
    assert queue.jobs_by_id == {}


def test_redis_gone_at_submit_is_503_and_nothing_is_listed(api: TestClient, queue: FakeQueue) -> None:
    queue.down = True
    check(api.post("/v1/runs", json={}), 503, "queue-unavailable", "Redis")
    assert api.get("/v1/runs").json()["total"] == 0
    assert api.get("/v1/health").json()["status"] == "degraded"


def test_a_truncated_model_is_named(api: TestClient, tmp_path: Path) -> None:
    (tmp_path / "models" / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    check(api.post("/v1/models/inspect", json={"model": "gguf:cut.gguf"}), 422, "corrupt-file", "cut.gguf")


def test_a_pickle_checkpoint_is_refused(api: TestClient, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "old"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    check(api.post("/v1/models/inspect", json={"model": "path:old"}), 422, "unsafe-file", "safetensors")


def test_a_large_body_is_refused(api: TestClient) -> None:
    check(api.post("/v1/corpora", json={"text": "a" * 2**21}), 413, "too-large", "1 MiB")


def test_a_large_body_without_a_length_is_refused(api: TestClient) -> None:
    parts = (b'{"text": "' + b"a" * 2**20, b"a" * 2**20, b'"}')
    answer = api.post("/v1/corpora", content=iter(parts), headers={"content-type": "application/json"})
    check(answer, 413, "too-large", "1 MiB")


def test_unforeseen_errors_leak_nothing(
    api: TestClient, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret /path")

    monkeypatch.setattr(queue, "jobs", broken)
    problem = check(api.get("/v1/jobs"), 500, "internal", "RuntimeError")
    assert "secret" not in problem.model_dump_json()


def test_every_error_class_survives_the_trip() -> None:
    classes, stack = [], [WasserscopeError]
    while stack:
        cls = stack.pop()
        classes.append(cls)
        stack.extend(cls.__subclasses__())
    assert len({cls.code for cls in classes}) == len(classes)
    for cls in classes:
        fields = (FieldError("body.tokens", "too few"), FieldError("body.window", "too long"))
        back = Problem.of(cls("what", hint="do", errors=fields)).to_error()
        assert (type(back), back.detail, back.hint, back.errors) == (cls, "what", "do", fields)
    assert type(error_from_code("unheard-of", "x")) is WasserscopeError
