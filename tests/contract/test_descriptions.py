"""Every field and parameter says what it means, and shows an example where it is not a record of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def document(api: TestClient) -> dict[str, Any]:
    made: dict[str, Any] = api.get("/v1/openapi.json").json()
    return made


def fields(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in document["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            yield f"{name}.{field}", described


def parameters(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                yield f"{method} {path} {parameter['name']}", parameter


def is_record(described: dict[str, Any]) -> bool:
    """Whether it is a schema, a list of them, or one that may be null."""
    options = [described, described.get("items", {}), *described.get("anyOf", [])]
    return any("$ref" in option for option in options)


def test_every_field_is_described(document: dict[str, Any]) -> None:
    assert [name for name, field in fields(document) if not field.get("description")] == []


def test_every_plain_field_has_an_example(document: dict[str, Any]) -> None:
    bare = [name for name, field in fields(document) if not is_record(field) and "examples" not in field]
    assert bare == []


def test_every_parameter_is_described_with_an_example_or_a_default(document: dict[str, Any]) -> None:
    found = list(parameters(document))
    assert [name for name, parameter in found if not parameter.get("description")] == []
    bare = [name for name, one in found if not {"examples", "default"} & (one["schema"].keys() | one.keys())]
    assert bare == []


def test_operation_ids_are_unique_and_plain(document: dict[str, Any]) -> None:
    ids = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert len(set(ids)) == len(ids)
    assert all(one.isalpha() for one in ids)
