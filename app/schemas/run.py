"""Runs: one model, one corpus, one set of settings, scored once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.corpus import CORPUS_PATTERN
from app.schemas.job import Job
from app.schemas.model import MODEL_PATTERN, Projection

RUN_PATTERN = r"^[a-z0-9][a-z0-9-]{7,63}$"


class RunRequest(BaseModel):
    """What to capture and score. The same request always names the same run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        "demo", pattern=MODEL_PATTERN, max_length=512, description="Model source.", examples=["demo"]
    )
    corpus: str = Field(
        "python-docs",
        pattern=CORPUS_PATTERN,
        max_length=512,
        description="Corpus name.",
        examples=["python-docs"],
    )
    tokens: int = Field(
        8192, ge=16, description="Tokens taken from the start of the corpus.", examples=[8192]
    )
    window: int = Field(
        512,
        ge=8,
        description="Tokens of one window; windows do not overlap; the last may be shorter.",
        examples=[512],
    )
    pairs: int = Field(
        50_000,
        ge=1,
        le=1_000_000,
        description="Random disjoint pairs of tokens for MD; at most tokens / 2 are used.",
        examples=[50_000],
    )
    top_share: float = Field(
        0.03,
        gt=0,
        lt=1,
        description="Share of a layer's neurons, by WD, that are called Wasserstein neurons.",
        examples=[0.03],
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the pairs and of the random tokens.", examples=[0]
    )


class RunState(StrEnum):
    """Where a run stands."""

    queued = "queued"
    running = "running"
    finished = "finished"
    failed = "failed"
    cancelled = "cancelled"
    incomplete = "incomplete"
    """Started once, not finished, and no job is at work on it: submit it again to go on."""


class RunModel(BaseModel):
    """The model of a run, as it was when the run was made."""

    source: str = Field(description="As asked for.", examples=["demo"])
    title: str = Field(description="Name for people.", examples=["SmolLM2-135M-Instruct"])
    fingerprint: str = Field(description="Identity of the content.", examples=["gguf-1f2e3d4c5b6a7988"])
    family: str = Field(description="Family whose rule found the layers.", examples=["llama"])
    dtype: str = Field(description="Type of the weights once loaded.", examples=["float32"])
    blocks: int = Field(description="Transformer blocks.", examples=[30])
    d_model: int = Field(description="Width of the residual stream.", examples=[576])
    parameters: int = Field(0, description="All weights; 0 in runs made before 0.2.", examples=[134_515_008])
    projections: list[Projection] = Field(
        description="The linear layers of one block's feed-forward network."
    )


class Run(BaseModel):
    """A run and where it stands."""

    id: str = Field(
        description="Fingerprint of the request and the model's content.",
        examples=["smollm2-135m-instruct-4f1c2a9be0d7"],
    )
    state: RunState = Field(description="Where it stands.")
    request: RunRequest = Field(description="What was asked for.")
    model: RunModel = Field(description="The model, as it was when the run was made.")
    corpus_title: str = Field(
        "", description="The corpus' name for people.", examples=["Python's language reference (built in)"]
    )
    created_at: datetime = Field(
        description="When it was first submitted, UTC.", examples=["2026-01-31T12:00:00Z"]
    )
    finished_at: datetime | None = Field(
        None, description="When it was finished, UTC; null until then.", examples=["2026-01-31T12:01:02Z"]
    )
    blocks_done: int = Field(0, description="Blocks whose scores are stored.", examples=[30])
    neurons: int = Field(0, description="Neurons over all layers.", examples=[109_440])
    tokens: int = Field(0, description="Tokens that entered the statistics.", examples=[8192])
    pairs: int = Field(0, description="Pairs that entered MD.", examples=[4096])
    gaussian_floor: float | None = Field(
        None, description="Mean WD of a true Gaussian sample of as many tokens.", examples=[0.0104]
    )
    job: str | None = Field(
        None,
        description="The job at work on it, or the last one.",
        examples=["explore-smollm2-135m-instruct-4f1c2a9be0d7"],
    )
    seconds: float | None = Field(None, description="Time the computation took.", examples=[61.2])
    device: str | None = Field(None, description="Device it ran on.", examples=["cpu"])
    peak_bytes: int | None = Field(
        None, description="Peak resident memory of the worker's process, bytes.", examples=[1_300_000_000]
    )
    versions: dict[str, str] = Field(
        default_factory=dict, description="Versions of what computed it.", examples=[{"torch": "2.13.0"}]
    )


class RunSubmitted(BaseModel):
    """What became of a submitted request."""

    run: Run = Field(description="The run, new or known.")
    job: Job | None = Field(
        None, description="The job at work on it; null when the run was finished already."
    )
