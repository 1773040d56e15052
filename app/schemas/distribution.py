"""What pruning and expansion did to one neuron: its distributions on shared bins, and the distances between them."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ChangedOutputs(BaseModel):
    """A neuron's outputs after pruning or expansion, against the dense ones. In the output's own units."""

    variant: str = Field(description="The pruning or expansion.", examples=["p-4f1c2a9be0d7"])
    title: str = Field(description="Its settings in words.", examples=["SparseGPT 90 %"])
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
    zero_share: float = Field(
        description="Share of zeros among the neuron's new weights, over all experts.", examples=[0.9]
    )


class ExpertOutputs(BaseModel):
    """One expert's share of an expanded neuron's outputs."""

    expert: int = Field(description="The expert's number, from 0.", examples=[3])
    tokens: int = Field(description="Calibration tokens of its cluster.", examples=[512])
    counts: list[int] = Field(description="Tokens in each shared bin.", examples=[[0, 2, 17, 204]])
    wd: float | None = Field(
        description="WD of the expert's outputs to a Gaussian; null for fewer than two tokens or equal outputs.",
        examples=[0.05],
    )


class ExpandedOutputs(ChangedOutputs):
    """A neuron's outputs after expansion."""

    weighted_wd: float | None = Field(
        description="Mean of the experts' WD, weighted by their tokens (Fig. 5).", examples=[0.11]
    )
    weighted_md: float | None = Field(
        description="Mean of the experts' mapping difficulty, weighted by their tokens (Fig. 5).",
        examples=[1.1],
    )
    experts: list[ExpertOutputs] = Field(description="Each expert's share.")
    token_experts: dict[int, int] = Field(
        description="Expert of each of the neuron's example tokens, by position.", examples=[{5123: 3}]
    )


class NeuronDistributions(BaseModel):
    """A neuron dense, pruned and expanded, all counted in the same bins.

    Bins are equally wide; they cover the dense outputs' range in 128 and reach 32 further on each side. What lies
    beyond is counted in the outermost.
    """

    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(description="The projection's name.", examples=["up_proj"])
    index: int = Field(description="Row of the weight, from 0.", examples=[402])
    tokens: int = Field(description="Tokens in each distribution.", examples=[8192])
    low: float = Field(description="Lower edge of the first bin.", examples=[-3.1])
    width: float = Field(description="Width of a bin.", examples=[0.05])
    dense: list[int] = Field(description="Tokens in each bin, dense.", examples=[[0, 1, 15, 210]])
    gaussian: list[float] = Field(
        description="Tokens that a Gaussian of the dense mean and standard deviation has in each bin.",
        examples=[[0.1, 1.2, 14.0, 212.3]],
    )
    wd: float | None = Field(description="WD of the dense outputs.", examples=[0.42])
    md: float | None = Field(description="Mapping difficulty of the dense neuron.", examples=[1.31])
    mean: float = Field(description="Mean dense output.", examples=[-0.12])
    std: float = Field(description="Standard deviation of the dense outputs.", examples=[0.87])
    pruning: ChangedOutputs | None = Field(None, description="After the pruning asked for.")
    expansion: ExpandedOutputs | None = Field(None, description="After the expansion asked for.")
    ri: float | None = Field(
        None,
        description="Relative improvement: RMSE of the pruning over RMSE of the expansion; above 1 the expansion is "
        "closer to dense. Null unless both are given, or where the expansion is exact.",
        examples=[1.65],
    )
