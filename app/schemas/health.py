"""Health: what works and what does not."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field


class Part(BaseModel):
    """One thing the service rests on."""

    ok: bool = Field(description="Whether it works.", examples=[True])
    detail: str = Field(
        "", description="Where it is, or why it does not work.", examples=["redis://127.0.0.1:6379/0"]
    )


class WorkerInfo(BaseModel):
    """A live worker."""

    name: str = Field(description="Its name, unique among all workers.", examples=["gpu-host-4711-9f3a"])
    state: str = Field(description="idle, busy, suspended or started.", examples=["idle"])
    device: str = Field("", examples=["cpu"], description="Device it computes on.")
    memory_bytes: int = Field(0, description="Memory of its device.", examples=[25_000_000_000])
    gflops: float = Field(
        0.0,
        description="Its matrix-product rate in float32, measured at start, 1e9 operations per second.",
        examples=[105.0],
    )
    version: str = Field("", description="Version of Wasserscope it runs.", examples=["0.1.0"])
    job: str | None = Field(
        None,
        description="The job it works on; null while idle.",
        examples=["explore-smollm2-135m-instruct-4f1c2a9be0d7"],
    )
    seen_at: datetime | None = Field(
        None, description="Its last sign of life, UTC.", examples=["2026-01-31T12:00:00Z"]
    )


class Health(BaseModel):
    """The service and what it rests on."""

    status: Literal["ok", "degraded"] = Field(
        description="ok when Redis and the store answer and a worker lives, else degraded.", examples=["ok"]
    )
    version: str = Field(description="Version of the service.", examples=["0.1.0"])
    redis: Part = Field(description="The job queue's server.")
    store: Part = Field(description="Where runs are kept.")
    workers: list[WorkerInfo] = Field(description="Live workers.")
