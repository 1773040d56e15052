"""Variants: the model of a run with some of its feed-forward layers pruned or expanded.

A variant is named by its settings, not by the layers it covers: layers are added to it as they are asked for.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.schemas.job import Job
from app.schemas.model import Estimate

VARIANT_PATTERN = r"^[px]-[0-9a-f]{12}$"
PRUNING_PATTERN, EXPANSION_PATTERN = r"^p-[0-9a-f]{12}$", r"^x-[0-9a-f]{12}$"
PATTERN_PATTERN = r"^[0-9]{1,5}:[0-9]{1,5}$"


class VariantKind(StrEnum):
    """What was done to the layers."""

    pruning = "pruning"
    expansion = "expansion"


class SparsitySettings(BaseModel):
    """How many weights go, and by which rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sparsity: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of a layer's weights set to 0; met to one weight. Not looked at when `pattern` is given.",
        examples=[0.9],
    )
    pattern: str | None = Field(
        None,
        pattern=PATTERN_PATTERN,
        description="N:M: N zeros in each M consecutive weights of a neuron; M must divide the layers' widths.",
        examples=["2:4"],
    )
    per_row: bool = Field(
        False,
        description="The same number of zeros in every neuron, rather than wherever they hurt least. Wanda always "
        "does so.",
        examples=[False],
    )
    block: int = Field(
        128, ge=1, le=65536, description="SparseGPT: columns whose zeros are chosen together.", examples=[128]
    )
    damping: float = Field(
        0.01,
        gt=0,
        le=1,
        description="SparseGPT: share of the Hessian's mean diagonal added to it; raised, and reported, when the "
        "Hessian is singular.",
        examples=[0.01],
    )
    bits: int | None = Field(
        None,
        ge=2,
        le=8,
        description="Round the weights that stay to a grid of 2^bits values a neuron.",
        examples=[4],
    )
    propagate: bool = Field(
        False,
        description="Whole model in sequence: each block is calibrated on what the changed blocks before it put out. "
        "Otherwise every layer is calibrated on the dense model's inputs.",
        examples=[False],
    )
    compare: bool = Field(
        True,
        description="Compare every neuron's outputs with the dense ones. Without it only the weights are made, which "
        "is faster.",
        examples=[True],
    )

    @model_validator(mode="after")
    def _pattern_fits(self) -> SparsitySettings:
        if self.pattern is not None:
            zeros, group = self.zeros_in_group or (0, 1)
            if not 0 <= zeros <= group or group == 0:
                raise ValueError(
                    f"{self.pattern} is no pattern: N:M means N zeros in each M weights, N at most M"
                )
        return self

    @property
    def zeros_in_group(self) -> tuple[int, int] | None:
        """(zeros, group) of an N:M pattern."""
        if self.pattern is None:
            return None
        zeros, group = self.pattern.split(":")
        return int(zeros), int(group)

    @property
    def target(self) -> float:
        """Share of zeros asked for."""
        found = self.zeros_in_group
        return self.sparsity if found is None else found[0] / found[1]

    @property
    def amount(self) -> str:
        """The amount in words: `90 %`, `2:4`, `50 %, 4 bits`."""
        words = self.pattern or f"{100 * self.sparsity:.6g} %"
        return words if self.bits is None else f"{words}, {self.bits} bits"


class Coverage(BaseModel):
    """Which layers; all of them when nothing is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: list[int] | None = Field(
        None, min_length=1, max_length=4096, description="Numbers of blocks; all when null.", examples=[[15]]
    )
    projections: list[str] | None = Field(
        None, min_length=1, max_length=64, description="Projections; all when null.", examples=[["up_proj"]]
    )


class Cluster(BaseModel):
    """One expert's share of the calibration tokens."""

    expert: int = Field(description="The expert's number, from 0.", examples=[3])
    tokens: int = Field(description="Calibration tokens of its cluster.", examples=[512])
    own_share: float = Field(
        description="How much of its Hessian is its own cluster's, n / (n + width / 4) for n tokens; the rest is that of "
        "all tokens.",
        examples=[0.89],
    )
    damping: float = Field(description="Damping used.", examples=[0.01])


class LayerResult(BaseModel):
    """What became of one layer. Shares of zeros are counted in the new weights themselves."""

    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(description="The projection's name.", examples=["up_proj"])
    weights: int = Field(description="Weights of the dense layer.", examples=[884_736])
    zeros: int = Field(description="Zeros in the new weights, over all experts.", examples=[796_262])
    sparsity: float = Field(description="Share of zeros in the new weights.", examples=[0.9])
    relative_error: float | None = Field(
        None,
        description="Squared output error over the outputs' variance, on the calibration tokens; null when not "
        "compared.",
        examples=[0.38],
    )
    damping: float | None = Field(
        None, description="SparseGPT: damping used; the largest of all experts.", examples=[0.01]
    )
    dead_inputs: int = Field(0, description="Inputs that are 0 for every token.", examples=[0])
    clusters: list[Cluster] = Field(default_factory=list, description="Expansions: one per expert.")
    sets: dict[str, float] = Field(
        default_factory=dict,
        description="Where only some neurons were pruned: share of zeros among the pruned and the others.",
        examples=[{"pruned": 0.9, "others": 0.0}],
    )
    seconds: float = Field(description="Time it took.", examples=[1.9])


class Variant(BaseModel):
    """What is common to a pruning and an expansion."""

    id: str = Field(description="Fingerprint of run and settings.", examples=["p-4f1c2a9be0d7"])
    run: str = Field(description="The run.", examples=["smollm2-135m-instruct-4f1c2a9be0d7"])
    title: str = Field(description="The settings in words.", examples=["SparseGPT 90 %"])
    created_at: datetime = Field(
        description="When it was first asked for, UTC.", examples=["2026-01-31T12:00:00Z"]
    )
    layers: list[LayerResult] = Field(description="The layers that are done, in the model's order.")
    layers_total: int = Field(description="Layers the model has.", examples=[90])
    complete: bool = Field(description="Whether every layer of the model is done.", examples=[False])
    ffn_sparsity: float | None = Field(
        description="Share of zeros over all feed-forward weights of the model, untouched layers included; null "
        "before the first layer is done.",
        examples=[0.9],
    )
    model_sparsity: float | None = Field(
        description="The same over all weights of the model, embeddings and attention included.",
        examples=[0.53],
    )
    export: str | None = Field(
        None,
        description="Folder or URL of the exported model, once there is one.",
        examples=["/data/store/runs/smollm2-135m-instruct-4f1c2a9be0d7/prunings/p-4f1c2a9be0d7/export"],
    )
    job: str | None = Field(
        None,
        description="The job at work on it, or the last one.",
        examples=["prune-smollm2-135m-instruct-4f1c2a9be0d7-4f1c2a9be0d7-a1b2c3"],
    )


class VariantSubmitted(BaseModel):
    """What became of a submitted request."""

    job: Job | None = Field(None, description="The job at work; null when every layer asked for was done.")
    estimate: Estimate = Field(description="What the layers that are missing take.")
