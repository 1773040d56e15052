"""Layers: summaries of all neurons of one projection of one block, and the map of a whole run."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field


class Metric(StrEnum):
    """What neurons can be ranked and coloured by. `LABELS` has the words for people."""

    wd = "wd"
    md = "md"
    mean = "mean"
    std = "std"
    skew = "skew"
    kurtosis = "kurtosis"
    entropy = "entropy"
    mean_abs_weight = "mean_abs_weight"
    weight_norm = "weight_norm"
    zero_share = "zero_share"


class LayerSummary(BaseModel):
    """One projection of one block."""

    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(examples=["up_proj"])
    neurons: int = Field(examples=[1536])
    constant: int = Field(
        description="Neurons whose output is always the same: they have no WD.", examples=[0]
    )
    wd_min: float | None
    wd_q25: float | None
    wd_median: float | None = Field(examples=[0.041])
    wd_q75: float | None
    wd_max: float | None = Field(examples=[0.42])
    threshold: float | None = Field(
        description="Smallest WD of the layer's Wasserstein neurons.", examples=[0.16]
    )
    wasserstein: int = Field(
        description="Wasserstein neurons: the top share of the layer by WD.", examples=[46]
    )
    above_floor: int = Field(description="Neurons whose WD is above the Gaussian floor.", examples=[1510])


class LayerValues(BaseModel):
    """Metrics of all neurons of one layer, in the order of their index; null where a neuron has none."""

    layer: int
    projection: str
    neurons: int
    summary: LayerSummary
    metrics: dict[str, list[float | None]] = Field(
        description="One list per metric asked for, one value per neuron."
    )


class MapRow(BaseModel):
    """One layer's line of the map."""

    layer: int
    projection: str
    neurons: int
    values: list[float | None] = Field(
        description="Mean of the metric over the neurons of each bin; neurons are ranked from the highest."
    )
    leaders: list[int] = Field(description="Index of the first neuron of each bin.")


class RunMap(BaseModel):
    """The overview of a run: one row per layer, neurons ranked by the metric and binned by rank."""

    metric: Metric
    bins: int
    rows: list[MapRow]
    minimum: float | None
    maximum: float | None
