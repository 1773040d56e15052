"""Small files read and written the same way everywhere."""

from __future__ import annotations

import io
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from app.errors import CorruptStore

Record = TypeVar("Record", bound=BaseModel)


def parsed(cls: type[Record], raw: bytes, key: str) -> Record:
    """`raw` as a record. Raises CorruptStore."""
    try:
        return cls.model_validate_json(raw)
    except ValidationError as error:
        raise CorruptStore(
            f"'{key}' is damaged: {error.error_count()} errors, the first: {error.errors()[0]['msg']}.",
            hint="Delete the run and submit it again.",
        ) from error


def to_parquet(table: pa.Table) -> bytes:
    """A Parquet file with a checksum on every page."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def from_parquet(data: bytes) -> pa.Table:
    """The table of a file that `to_parquet` made; damaged pages are noticed."""
    return pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
