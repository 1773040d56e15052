"""Health: what works and what does not."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field


class Part(BaseModel):
    """One thing the service rests on."""

    ok: bool
    detail: str = Field("", description="Where it is, or why it does not work.")


class WorkerInfo(BaseModel):
    """A live worker."""

    name: str
    state: str = Field(description="idle, busy, suspended or started.", examples=["idle"])
    device: str = Field("", examples=["cpu"])
    memory_bytes: int = Field(0, description="Memory of its device.", examples=[25_000_000_000])
    gflops: float = Field(
        0.0,
        description="Its matrix-product rate in float32, measured at start, 1e9 operations per second.",
        examples=[105.0],
    )
    version: str = ""
    job: str | None = None
    seen_at: datetime | None = None


class Health(BaseModel):
    """The service and what it rests on."""

    status: Literal["ok", "degraded"]
    version: str
    redis: Part
    store: Part
    workers: list[WorkerInfo]
