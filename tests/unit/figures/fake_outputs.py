"""Made-up stored outputs for tests of pages."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.schemas.job import Job, JobState, Progress
from app.schemas.outputs import LayerOutputs, NeuronOutputs, NeuronPairs, OutputToken, TokenPair, WdInterval
from tests.unit.figures import fake_variants

TOKENS, HELD = 8192, 60
STORED = LayerOutputs(
    run=fake_variants.RUN,
    layer=3,
    projection="up_proj",
    neurons=96,
    tokens=TOKENS,
    stored=True,
    size_bytes=3_000_000,
    stored_at=fake_variants.MADE,
    seconds=2.1,
    device="cpu",
)
MISSING = STORED.model_copy(update={"stored": False, "stored_at": None, "seconds": None, "device": None})


def a_job(state: JobState = JobState.running, **more: Any) -> Job:
    """The job that stores them."""
    return Job(
        id="outputs-tiny-llama-3-aabbcc",
        kind="outputs",
        state=state,
        run=fake_variants.RUN,
        title="Store the outputs of block 3 up_proj",
        progress=Progress(phase="storing 96 neurons of 8,192 tokens", fraction=0.75),
        **more,
    )


def a_token(position: int, value: float, expert: int | None = None) -> OutputToken:
    """A token in its text."""
    return OutputToken(
        position=position,
        window=position // 512,
        offset=position % 512,
        value=value,
        token=fake_variants.HOSTILE if position == 0 else f" word{position}",
        before="text before",
        after=" and after",
        expert=expert,
    )


def tokens(**query: Any) -> NeuronOutputs:
    """A page of a range that holds HELD tokens."""
    offset, limit = query.get("offset", 0), query.get("limit", 50)
    expert = 3 if query.get("expansion") else None
    places = range(offset, min(HELD, offset + limit))
    return NeuronOutputs(
        items=[a_token(place, 4.0 - place / 100, expert) for place in places],
        total=HELD,
        limit=limit,
        offset=offset,
        low=3.41,
        high=4.0,
        tokens=TOKENS,
        expert_tokens={3: HELD - 2, 1: 2} if expert is not None else {},
    )


def pairs(experts: bool = False) -> NeuronPairs:
    """Pairs of which the hardest are told."""
    generator = np.random.default_rng(0)
    x, y = generator.uniform(0.2, 1, 50), generator.gamma(2, size=50)
    expert = 3 if experts else None
    hardest = [
        TokenPair(
            first=a_token(10 * i, 4.0, expert),
            second=a_token(10 * i + 5, -1.0, expert),
            input_distance=0.1,
            output_distance=5.0 - i,
            difficulty=50.0 - 10 * i,
        )
        for i in range(3)
    ]
    return NeuronPairs(
        pairs=4090,
        left_out=6,
        md=1.31,
        input_scale=41.2,
        output_scale=0.62,
        input_distances=x.tolist(),
        output_distances=y.tolist(),
        hardest=hardest,
    )


def interval(wd: float | None) -> WdInterval:
    """An interval about a WD."""
    return WdInterval(
        wd=wd,
        low=None if wd is None else 0.9 * wd,
        high=None if wd is None else 1.1 * wd,
        confidence=0.95,
        standard_error=0.01,
        bias=0.001,
        resamples=1000,
        windows=16,
        seed=0,
        method="percentile bootstrap over whole windows, shifted by its bias",
    )
