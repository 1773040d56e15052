"""Sweeps: one layer at many sparsities, pruned with SparseGPT and expanded (Fig. 6 of the paper, for every neuron)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.schemas.expansion import ExpansionSettings
from app.schemas.job import Job
from app.schemas.model import Estimate
from app.schemas.pruning import PruningSettings
from app.schemas.variant import PATTERN_PATTERN, SparsitySettings, VariantKind

SWEEP_PATTERN = r"^s-[0-9a-f]{12}$"
SPARSITIES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
EXPERT_COUNTS = (1, 2, 4, 8, 16)
MOST_POINTS = 64


class SweepRequest(BaseModel):
    """Which layer, at which sparsities, with how many experts. The same request always names the same sweep.

    Numbers are sorted and given once, so their order does not matter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: int = Field(ge=0, le=2**31 - 1, description="The block's number, from 0.", examples=[15])
    projection: str = Field(
        min_length=1, max_length=128, description="The projection's name.", examples=["up_proj"]
    )
    sparsities: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        SPARSITIES,
        min_length=1,
        max_length=32,
        description="Shares of the layer's weights set to 0, each met to one weight.",
        examples=[[0, 0.5, 0.9]],
    )
    patterns: tuple[Annotated[str, Field(pattern=PATTERN_PATTERN)], ...] = Field(
        ("2:4",),
        max_length=8,
        description="N:M patterns besides: N zeros in each M consecutive weights; M must divide the layer's width.",
        examples=[["2:4"]],
    )
    experts: int = Field(
        16, ge=1, le=1024, description="Experts of the expansion at each of the sparsities.", examples=[16]
    )
    expert_counts: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        EXPERT_COUNTS,
        max_length=16,
        description="Numbers of experts to try at the one sparsity `at`; none when empty.",
        examples=[[1, 2, 4, 8, 16]],
    )
    at: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Sparsity at which numbers of experts are tried: one of `sparsities`.",
        examples=[0.9],
    )
    reduction: int = Field(
        32,
        ge=1,
        description="Inputs are reduced to width // reduction principal components before clustering.",
        examples=[32],
    )
    damping: float = Field(
        0.01,
        gt=0,
        le=1,
        description="SparseGPT: share of the Hessian's mean diagonal added to it; raised, and reported, when the "
        "Hessian is singular.",
        examples=[0.01],
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of PCA and k-means.", examples=[0])

    @field_validator("sparsities", "patterns", "expert_counts")
    @classmethod
    def _once_in_order(cls, values: tuple[float | str, ...]) -> tuple[float | str, ...]:
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _fits(self) -> SweepRequest:
        if self.expert_counts and self.at not in self.sparsities:
            raise ValueError(
                f"numbers of experts are tried at {self.at:g}, which is not one of the sparsities; add it to them"
            )
        for pattern in self.patterns:
            SparsitySettings(pattern=pattern)  # says what is wrong with it
        if len(points := points_of(self)) > MOST_POINTS:
            raise ValueError(f"the sweep has {len(points)} points; at most {MOST_POINTS} are made at once")
        return self

    @property
    def title(self) -> str:
        """In words."""
        first, last = self.sparsities[0], self.sparsities[-1]
        amounts = [f"{100 * first:g} to {100 * last:g} %" if first < last else f"{100 * first:g} %"]
        amounts += self.patterns
        return f"Sweep of block {self.layer} {self.projection}: {', '.join(amounts)}, {self.experts} experts"


class SweepPoint(BaseModel):
    """One way in which the layer was changed. Shares are counted over the layer's new weights."""

    kind: VariantKind = Field(
        description="`pruning` is SparseGPT on the whole layer; `expansion` is Sparse Expansion.",
        examples=["expansion"],
    )
    title: str = Field(description="In words.", examples=["16 experts 90 %"])
    sparsity: float = Field(
        description="Share of zeros asked for; that of the pattern if there is one.", examples=[0.9]
    )
    pattern: str | None = Field(None, description="N:M, where zeros follow a pattern.", examples=["2:4"])
    experts: int = Field(1, description="Experts; 1 for SparseGPT on the whole layer.", examples=[16])


class SweepPointResult(SweepPoint):
    """What became of the layer at one point."""

    zero_share: float = Field(description="Share of zeros in the new weights, counted.", examples=[0.9])
    relative_error: float | None = Field(
        description="Squared output error over the outputs' variance, over all the layer's neurons, on the "
        "calibration tokens; null where no output varies.",
        examples=[0.38],
    )
    damping: float | None = Field(
        description="Damping used, the largest of all experts; null where nothing was corrected.",
        examples=[0.01],
    )


class Sweep(BaseModel):
    """A sweep and how far it has come."""

    id: str = Field(
        pattern=SWEEP_PATTERN, description="Fingerprint of run and request.", examples=["s-4f1c2a9be0d7"]
    )
    run: str = Field(description="The run.", examples=["smollm2-135m-instruct-4f1c2a9be0d7"])
    request: SweepRequest = Field(description="What was asked for.")
    title: str = Field(
        description="The request in words.",
        examples=["Sweep of block 15 up_proj: 0 to 95 %, 2:4, 16 experts"],
    )
    created_at: datetime = Field(
        description="When it was first asked for, UTC.", examples=["2026-01-31T12:00:00Z"]
    )
    points: list[SweepPoint] = Field(description="The points, in the order in which they are made.")
    done: int = Field(description="Points whose numbers are stored.", examples=[28])
    finished: bool = Field(
        description="Whether all points are there and neurons can be read.", examples=[True]
    )
    results: list[SweepPointResult] = Field(
        default_factory=list, description="What became of the layer at each point, once it is finished."
    )
    seconds: float | None = Field(None, description="Time the last attempt took.", examples=[38.5])
    job: str | None = Field(
        None,
        description="The job at work on it, or the last one.",
        examples=["sweep-smollm2-135m-instruct-4f1c2a9be0d7-s-4f1c2a9be0d7"],
    )


class SweepSubmitted(BaseModel):
    """What became of a submitted sweep."""

    sweep: Sweep = Field(description="The sweep, new or known.")
    job: Job | None = Field(None, description="The job at work; null when it was finished already.")
    estimate: Estimate = Field(description="What the points that are missing take.")


class NeuronSweepPoint(SweepPoint):
    """One neuron's outputs at one point against the dense ones. In the output's own units."""

    counts: list[int] = Field(description="Tokens in each shared bin.", examples=[[0, 2, 17, 204]])
    wd: float | None = Field(
        description="WD of the changed outputs to a Gaussian (Eq. 1); null when they are constant.",
        examples=[0.31],
    )
    w1: float = Field(
        description="W1 between the changed and the dense outputs: another thing than WD.", examples=[0.12]
    )
    rmse: float = Field(description="Root of the mean squared output error.", examples=[0.09])
    relative_rmse: float | None = Field(
        description="The same over the dense outputs' standard deviation; null where that is 0.",
        examples=[0.41],
    )
    ri: float | None = Field(
        None,
        description="Expansions: relative improvement, RMSE of SparseGPT at the same sparsity over this RMSE; above 1 "
        "the expansion is closer to dense. 1 where both are exact, null where only the expansion is.",
        examples=[1.65],
    )


class NeuronSweep(BaseModel):
    """A neuron at every point of a sweep, all counted in the same bins as its dense outputs.

    Bins are equally wide; they cover the dense outputs' range in 128 and reach 32 further on each side. What lies
    beyond is counted in the outermost.
    """

    sweep: str = Field(description="The sweep.", examples=["s-4f1c2a9be0d7"])
    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(description="The projection's name.", examples=["up_proj"])
    index: int = Field(description="Row of the weight, from 0.", examples=[402])
    tokens: int = Field(description="Tokens in each distribution.", examples=[8192])
    low: float = Field(description="Lower edge of the first bin.", examples=[-3.1])
    width: float = Field(description="Width of a bin.", examples=[0.05])
    dense: list[int] = Field(description="Tokens in each bin, dense.", examples=[[0, 1, 15, 210]])
    wd: float | None = Field(description="WD of the dense outputs.", examples=[0.42])
    mean: float = Field(description="Mean dense output.", examples=[-0.12])
    std: float = Field(description="Standard deviation of the dense outputs.", examples=[0.87])
    points: list[NeuronSweepPoint] = Field(description="The neuron at each point, in the sweep's order.")


def points_of(request: SweepRequest) -> list[SweepPoint]:
    """The points of a sweep, in the order in which they are made: SparseGPT, then expansions by number of experts."""
    return [_point(settings) for settings in settings_of(request)]


def settings_of(request: SweepRequest) -> Sequence[PruningSettings | ExpansionSettings]:
    """Of each point, in the same order: the settings of the pruning or expansion that gives the same numbers."""
    amounts: list[dict[str, Any]] = [
        *({"sparsity": sparsity} for sparsity in request.sparsities),
        *({"pattern": pattern} for pattern in request.patterns),
    ]
    found: list[PruningSettings | ExpansionSettings] = [
        PruningSettings(damping=request.damping, **amount) for amount in amounts
    ]
    counts = sorted({request.experts, *request.expert_counts}, key=lambda k: (k != request.experts, k))
    for count in counts:
        shared = {
            "experts": count,
            "reduction": request.reduction,
            "damping": request.damping,
            "seed": request.seed,
        }
        here = amounts if count == request.experts else [{"sparsity": request.at}]
        found += [ExpansionSettings(**shared, **amount) for amount in here]
    return found


def _point(settings: PruningSettings | ExpansionSettings) -> SweepPoint:
    experts = settings.experts if isinstance(settings, ExpansionSettings) else None
    return SweepPoint(
        kind=VariantKind.expansion if experts else VariantKind.pruning,
        title=f"{experts} experts {settings.amount}" if experts else f"SparseGPT {settings.amount}",
        sparsity=settings.target,
        pattern=settings.pattern,
        experts=experts or 1,
    )
