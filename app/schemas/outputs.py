"""Every token's output of a layer, and what can be asked of it: tokens by range, pairs of tokens, an interval for WD."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.schemas.job import Job
from app.schemas.neuron import TokenExample
from app.schemas.page import Page

_EXPANSION = r"^x-[0-9a-f]{12}$"


class LayerOutputs(BaseModel):
    """The stored outputs of one layer: a float32 for each neuron and token, as they were scored."""

    run: str = Field(description="The run.", examples=["smollm2-135m-instruct-4f1c2a9be0d7"])
    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(description="The projection's name.", examples=["up_proj"])
    neurons: int = Field(description="Neurons of the layer.", examples=[1536])
    tokens: int = Field(description="Tokens of the run.", examples=[8192])
    stored: bool = Field(description="Whether they are there.", examples=[True])
    size_bytes: int = Field(
        description="What they take in the store; before they are there, what they would take at most.",
        examples=[50_331_648],
    )
    stored_at: datetime | None = Field(
        None, description="When they were stored, UTC; null until then.", examples=["2026-01-31T12:01:02Z"]
    )
    seconds: float | None = Field(None, description="Time it took.", examples=[2.4])
    device: str | None = Field(None, description="Device they were computed on.", examples=["cpu"])
    job: Job | None = Field(None, description="The job at work on them, or the last one.")


class OutputsSubmitted(BaseModel):
    """What became of a request to store a layer's outputs."""

    outputs: LayerOutputs = Field(description="The layer's outputs.")
    job: Job | None = Field(None, description="The job at work; null when they were there already.")


class OutputsQuery(BaseModel):
    """Which tokens of a neuron, in which order, how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float | None = Field(
        None, allow_inf_nan=False, description="Only outputs of at least this.", examples=[2.5]
    )
    high: float | None = Field(
        None, allow_inf_nan=False, description="Only outputs of at most this.", examples=[4.0]
    )
    from_quantile: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Only outputs from this quantile on: tokens are ranked by output and cut by their rank.",
        examples=[0.9],
    )
    to_quantile: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Only outputs below this quantile; 1 takes the highest in.",
        examples=[0.99],
    )
    sort: str = Field(
        "-value",
        pattern=r"^(-?value|position|random)$",
        description="By output (`-` for the highest first), by place in the text, or a random order that `seed` fixes. "
        "Among equal outputs the lower position comes first.",
        examples=["random"],
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the random order.", examples=[0])
    expansion: str | None = Field(
        None,
        pattern=_EXPANSION,
        description="Add the expert to which this expansion sends each token.",
        examples=["x-0123456789ab"],
    )
    limit: int = Field(50, ge=0, le=2**31, description="Most entries on this page.", examples=[50])
    offset: int = Field(0, ge=0, le=2**53, description="Entries left out before it.", examples=[0])

    @model_validator(mode="after")
    def _one_kind_of_range(self) -> OutputsQuery:
        by_value = self.low is not None or self.high is not None
        by_rank = self.from_quantile is not None or self.to_quantile is not None
        if by_value and by_rank:
            raise ValueError("give a range of outputs (low, high) or of quantiles, not both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low:g} and above high, which is {self.high:g}")
        if (self.from_quantile or 0.0) > (1.0 if self.to_quantile is None else self.to_quantile):
            raise ValueError("from_quantile is above to_quantile")
        return self


class OutputToken(TokenExample):
    """A token with the neuron's output, its text, and its expert where an expansion was named."""

    expert: int | None = Field(
        None, description="Expert that the token goes to; null without an expansion.", examples=[3]
    )


class NeuronOutputs(Page[OutputToken]):
    """The tokens of a range of a neuron's outputs; `total` is how many there are."""

    low: float = Field(description="Smallest output of the range; 0 when it holds none.", examples=[2.5])
    high: float = Field(description="Largest output of the range; 0 when it holds none.", examples=[4.0])
    tokens: int = Field(description="Tokens of the run, of which `total` are in the range.", examples=[8192])
    expert_tokens: dict[int, int] = Field(
        default_factory=dict,
        description="Tokens of the range that go to each expert, the most first; empty without an expansion.",
        examples=[{3: 204, 7: 11}],
    )


class TokenPair(BaseModel):
    """Two tokens whose inputs are close while the neuron's outputs are far apart."""

    first: OutputToken = Field(description="One token.")
    second: OutputToken = Field(description="The other.")
    input_distance: float = Field(
        description="Euclidean distance of the layer's inputs over the largest of a pair (`input_scale`).",
        examples=[0.11],
    )
    output_distance: float = Field(
        description="Distance of the outputs over the median of all pairs (`output_scale`).", examples=[6.2]
    )
    difficulty: float = Field(
        description="What the pair adds to MD: output distance over input distance, both normalised.",
        examples=[56.4],
    )


class NeuronPairs(BaseModel):
    """The pairs of tokens behind a neuron's mapping difficulty (Eq. 2): the run's own, drawn with its seed."""

    pairs: int = Field(
        description="Pairs that differ in their inputs: MD is a mean over them.", examples=[4096]
    )
    left_out: int = Field(description="Pairs of identical inputs, left out.", examples=[0])
    md: float | None = Field(
        description="Mapping difficulty over them; null for a constant neuron. Compares neurons within a layer only.",
        examples=[1.31],
    )
    input_scale: float = Field(
        description="N_x: largest Euclidean distance of a pair's inputs, one for the layer.", examples=[41.2]
    )
    output_scale: float = Field(
        description="N_y: median distance of a pair's outputs, of this neuron.", examples=[0.62]
    )
    input_distances: list[float] = Field(
        description="Distance of the inputs of some pairs over N_x; times N_x it is in the inputs' own units.",
        examples=[[0.41, 0.88]],
    )
    output_distances: list[float] = Field(
        description="Distance of the outputs of the same pairs over N_y; times N_y it is in the output's own units.",
        examples=[[0.7, 1.2]],
    )
    hardest: list[TokenPair] = Field(description="The pairs that add most to MD, the hardest first.")


class WdInterval(BaseModel):
    """How well the text determines a neuron's WD: a bootstrap over its windows."""

    wd: float | None = Field(
        description="WD, as the run has it; null for a constant neuron.", examples=[0.42]
    )
    low: float | None = Field(
        description="Lower end; null where there is no WD or only one window.", examples=[0.39]
    )
    high: float | None = Field(description="Upper end; null where `low` is.", examples=[0.46])
    confidence: float = Field(description="Level of the interval.", examples=[0.95])
    standard_error: float | None = Field(
        description="Standard deviation of WD over the resamples.", examples=[0.017]
    )
    bias: float | None = Field(
        description="Mean WD of the resamples less WD: how much resampling alone adds. The interval is shifted by it.",
        examples=[0.002],
    )
    resamples: int = Field(description="How often the windows were drawn anew.", examples=[1000])
    windows: int = Field(
        description="Windows of the run: what is drawn, whole, since tokens of a window depend on each other.",
        examples=[32],
    )
    seed: int = Field(description="Seed of the draws: the run's.", examples=[0])
    method: str = Field(
        description="How it was made, in words.",
        examples=["percentile bootstrap over whole windows, shifted by its bias"],
    )
