"""Layers: summaries of all neurons of one projection of one block, and the map of a whole run."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.variant import EXPANSION_PATTERN, PRUNING_PATTERN, VariantKind

MOST_CELLS = 100_000
"""Cells of a heatmap that one answer may hold: more would freeze a browser and could not be told apart."""
MAP_BINS = 512
"""Columns of the map when no number is asked for."""


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
    pruned_wd = "pruned_wd"
    pruned_w1 = "pruned_w1"
    pruned_rmse = "pruned_rmse"
    expanded_wd = "expanded_wd"
    expanded_w1 = "expanded_w1"
    expanded_rmse = "expanded_rmse"
    weighted_wd = "weighted_wd"
    weighted_md = "weighted_md"
    ri = "ri"

    @property
    def needs(self) -> frozenset[VariantKind]:
        """What must be named beside the run: a metric of pruning, of expansion, or of both (RI)."""
        if self is Metric.ri:
            return frozenset(VariantKind)
        if self.value.startswith("pruned_"):
            return frozenset({VariantKind.pruning})
        if self.value.startswith(("expanded_", "weighted_")):
            return frozenset({VariantKind.expansion})
        return frozenset()


class LayerSummary(BaseModel):
    """One projection of one block."""

    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(examples=["up_proj"], description="The projection's name.")
    neurons: int = Field(examples=[1536], description="Its neurons.")
    constant: int = Field(
        description="Neurons whose output is always the same: they have no WD.", examples=[0]
    )
    wd_min: float | None = Field(
        description="Smallest WD; null when all neurons are constant.", examples=[0.006]
    )
    wd_q25: float | None = Field(
        description="A quarter of its neurons have a WD of at most this.", examples=[0.028]
    )
    wd_median: float | None = Field(examples=[0.041], description="Median WD.")
    wd_q75: float | None = Field(
        description="Three quarters of its neurons have a WD of at most this.", examples=[0.066]
    )
    wd_max: float | None = Field(examples=[0.42], description="Largest WD.")
    threshold: float | None = Field(
        description="Smallest WD of the layer's Wasserstein neurons.", examples=[0.16]
    )
    wasserstein: int = Field(
        description="Wasserstein neurons: the top share of the layer by WD.", examples=[46]
    )
    above_floor: int = Field(description="Neurons whose WD is above the Gaussian floor.", examples=[1510])
    at_least: int | None = Field(
        None,
        description="Neurons of at least the WD that was asked for with min_wd; null when none was.",
        examples=[31],
    )


class LayerValues(BaseModel):
    """Metrics of all neurons of one layer, in the order of their index; null where a neuron has none."""

    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(description="The projection's name.", examples=["up_proj"])
    neurons: int = Field(description="Its neurons.", examples=[1536])
    summary: LayerSummary = Field(description="The layer in a few numbers.")
    metrics: dict[str, list[float | None]] = Field(
        description="One list per metric asked for, one value per neuron.",
        examples=[{"wd": [0.42, 0.03, None]}],
    )


class MapRow(BaseModel):
    """One layer's line of the map."""

    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(description="The projection's name.", examples=["up_proj"])
    neurons: int = Field(description="Its neurons.", examples=[1536])
    first_rank: int = Field(1, description="Rank of the first neuron of the row, from 1.", examples=[1])
    last_rank: int = Field(description="Rank of its last neuron.", examples=[1536])
    values: list[float | None] = Field(
        description="Mean of the metric over the neurons of each bin; neurons are ranked from the highest.",
        examples=[[0.42, 0.11, 0.05]],
    )
    leaders: list[int] = Field(
        description="Index of the first neuron of each bin.", examples=[[402, 17, 1033]]
    )


class RunMap(BaseModel):
    """The overview of a run: one row per layer, neurons ranked by the metric and binned by rank."""

    metric: Metric = Field(description="What the neurons are ranked and coloured by.")
    bins: int = Field(description="Columns of the map.", examples=[512])
    rows: list[MapRow] = Field(description="One per layer, in the model's order.")
    minimum: float | None = Field(description="Smallest value of the map.", examples=[0.006])
    maximum: float | None = Field(description="Largest value of the map.", examples=[0.42])


class MapQuery(BaseModel):
    """Which map, and which part of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Metric = Field(Metric.wd, description="What to rank and colour by.")
    bins: int | None = Field(
        None,
        ge=1,
        le=2048,
        description="Columns of the map; by default 512, fewer where that would be more than 100,000 cells.",
        examples=[512],
    )
    projection: str | None = Field(
        None, max_length=128, description="Only this projection.", examples=["up_proj"]
    )
    first_layer: int = Field(0, ge=0, le=2**31 - 1, description="Only blocks from this one on.", examples=[8])
    last_layer: int | None = Field(
        None, ge=0, le=2**31 - 1, description="Only blocks up to this one.", examples=[15]
    )
    first_rank: int = Field(
        1,
        ge=1,
        le=2**31 - 1,
        description="Only neurons from this rank in their layer on; layers that have none are left out.",
        examples=[1],
    )
    last_rank: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Only neurons up to this rank.", examples=[400]
    )
    pruning: str | None = Field(
        None,
        pattern=PRUNING_PATTERN,
        description="Pruning to show the effect of.",
        examples=["p-4f1c2a9be0d7"],
    )
    expansion: str | None = Field(
        None,
        pattern=EXPANSION_PATTERN,
        description="Expansion to show the effect of.",
        examples=["x-0123456789ab"],
    )


class Correlation(BaseModel):
    """How two metrics of a layer's neurons go together."""

    x: Metric = Field(description="One metric.")
    y: Metric = Field(description="The other.")
    n: int = Field(description="Neurons in which both have a value: what was correlated.", examples=[1536])
    pearson: float | None = Field(
        description="Pearson's correlation; null with fewer than two neurons or where one metric is constant.",
        examples=[0.41],
    )
    spearman: float | None = Field(
        description="Spearman's rank correlation, ties at their mean rank; null likewise.", examples=[0.63]
    )
