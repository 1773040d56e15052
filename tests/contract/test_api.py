"""What the operations answer, on a real store with one small finished run."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import create_api
from app.settings import Settings
from app.store import Store
from tests.contract.conftest import FakeQueue
from tests.unit.store.made import make_run

ROOT = Path(__file__).parents[2]
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


def test_every_operation_is_described(api: TestClient) -> None:
    document = api.get("/v1/openapi.json").json()
    operations = [o for path in document["paths"].values() for o in path.values()]
    assert len(operations) == 54
    assert all(operation["description"] and operation["operationId"] for operation in operations)
    assert all(
        "application/problem+json" in operation["responses"]["503"]["content"] for operation in operations
    )


def test_the_service_never_imports_torch() -> None:
    code = "import sys, app.main, app.cli, frontend.main; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'scipy', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_submit_answers_with_job_and_location_and_joins_the_second(api: TestClient) -> None:
    first = api.post("/v1/runs", json={"tokens": 1024})
    assert first.status_code == 202
    assert first.headers["location"] == f"/v1/jobs/{first.json()['job']['id']}"
    assert first.json()["run"]["state"] == "queued"
    again = api.post("/v1/runs", json={"tokens": 1024})
    assert again.json()["job"]["id"] == first.json()["job"]["id"]
    assert api.get("/v1/runs").json()["total"] == 1


def test_posted_text_becomes_a_corpus(api: TestClient) -> None:
    made = api.post("/v1/corpora", json={"text": "Call me Ishmael. " * 3000, "title": "whale"})
    assert made.status_code == 201
    assert made.json()["name"] in [item["name"] for item in api.get("/v1/corpora").json()["items"]]
    assert api.post("/v1/runs", json={"corpus": made.json()["name"]}).json()["run"]["corpus_title"] == "whale"


def test_csv_and_parquet_hold_all_rows_of_json(api: TestClient, run: str) -> None:
    page = api.get(f"/v1/runs/{run}/neurons", params={"limit": 1000}).json()
    csv = pa_csv.read_csv(io.BytesIO(api.get(f"/v1/runs/{run}/neurons", params={"format": "csv"}).content))
    parquet = pq.read_table(
        io.BytesIO(api.get(f"/v1/runs/{run}/neurons", params={"format": "parquet"}).content)
    )
    assert csv.num_rows == parquet.num_rows == page["total"] == len(page["items"])
    assert parquet.to_pylist() == [
        {name: value for name, value in row.items() if name != "effects"} for row in page["items"]
    ]


def test_events_end_with_the_job(api: TestClient, queue: FakeQueue) -> None:
    job = api.post("/v1/runs", json={"tokens": 1024}).json()["job"]["id"]
    api.post(f"/v1/jobs/{job}/cancel")
    answer = api.get(f"/v1/jobs/{job}/events", headers={"last-event-id": "7"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = answer.text.splitlines()
    assert "event: end" in lines
    assert "id: 8" in lines


OPERATIONS = sorted(
    {
        operation.ok().label
        for operation in schemathesis.openapi.from_path(ROOT / "docs" / "openapi.json").get_all_operations()
    }
    - {"GET /v1/jobs/{job}/events"}
)


@pytest.mark.parametrize("label", OPERATIONS)
def test_no_operation_answers_what_it_does_not_document(settings: Settings, store: Store, label: str) -> None:
    make_run(store)
    api = create_api(settings, store=store, queue=FakeQueue())  # type: ignore[arg-type]
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", api)
    method, path = label.split(" ")

    @given(case=schema[path][method].as_strategy())
    @hypothesis_settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def answers_as_documented(case: schemathesis.Case) -> None:
        answer = case.call()
        assert answer.status_code != 500, answer.text
        case.validate_response(answer, checks=CHECKS)

    answers_as_documented()
