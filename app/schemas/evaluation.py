"""Evaluations: perplexity of the dense model and of variants on held-out text."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.corpus import CORPUS_PATTERN
from app.schemas.job import Job
from app.schemas.variant import VARIANT_PATTERN

EVALUATION_PATTERN = r"^e-[0-9a-f]{12}$"


class EvaluationRequest(BaseModel):
    """What to evaluate, on which text. The text is the corpus' end; it must not overlap the run's tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variants: list[Annotated[str, Field(pattern=VARIANT_PATTERN)]] = Field(
        default_factory=list,
        max_length=64,
        description="Prunings and expansions of the run; the dense model is always evaluated. Layers that a variant "
        "does not cover stay dense.",
        examples=[["p-4f1c2a9be0d7", "x-0123456789ab"]],
    )
    corpus: str | None = Field(
        None,
        pattern=CORPUS_PATTERN,
        max_length=512,
        description="Corpus; the run's own when null.",
        examples=["python-docs"],
    )
    tokens: int = Field(8192, ge=16, description="Tokens, taken from the corpus' end.", examples=[8192])
    window: int = Field(
        512,
        ge=8,
        description="Tokens of one window. Each token but a window's first is predicted from those before it in "
        "its window.",
        examples=[512],
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the bootstrap.", examples=[0])


class PerplexityResult(BaseModel):
    """Perplexity of one model: exp of the mean negative log-likelihood of the predicted tokens."""

    variant: str | None = Field(None, description="Null for the dense model.", examples=["p-4f1c2a9be0d7"])
    title: str = Field(description="The model in words.", examples=["SparseGPT 50 %, propagated"])
    perplexity: float = Field(description="On all windows.", examples=[12.5])
    low: float = Field(description="Lower end of the 95 % bootstrap interval over windows.", examples=[10.9])
    high: float = Field(description="Upper end of it.", examples=[14.2])
    ffn_sparsity: float = Field(
        description="Share of zeros over all feed-forward weights of the evaluated model.", examples=[0.5]
    )
    layers: int = Field(description="Layers that were pruned or expanded.", examples=[90])


class Evaluation(BaseModel):
    """An evaluation; `results` is empty until it is finished."""

    id: str = Field(
        pattern=EVALUATION_PATTERN, description="Fingerprint of run and request.", examples=["e-4f1c2a9be0d7"]
    )
    run: str = Field(description="The run.", examples=["smollm2-135m-instruct-4f1c2a9be0d7"])
    request: EvaluationRequest = Field(description="What was asked for.")
    created_at: datetime = Field(
        description="When it was first asked for, UTC.", examples=["2026-01-31T12:00:00Z"]
    )
    finished: bool = Field(description="Whether the results are there.", examples=[True])
    results: list[PerplexityResult] = Field(
        default_factory=list, description="The dense model first, then the variants as asked for."
    )
    tokens: int = Field(0, description="Tokens that were predicted.", examples=[8176])
    windows: int = Field(0, description="Windows.", examples=[16])
    seconds: float | None = Field(None, description="Time it took.", examples=[14.2])
    job: str | None = Field(
        None,
        description="The job at work on it, or the last one.",
        examples=["evaluate-smollm2-135m-instruct-4f1c2a9be0d7-4f1c2a9be0d7"],
    )


class EvaluationSubmitted(BaseModel):
    """What became of a submitted evaluation."""

    evaluation: Evaluation = Field(description="The evaluation, new or known.")
    job: Job | None = Field(None, description="The job at work; null when it was finished already.")
