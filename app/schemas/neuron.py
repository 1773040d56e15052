"""Neurons: rows of an FFN linear layer, with their scores, distributions and tokens."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

GAUSSIAN_ENTROPY_NATS = 1.4189385332046727
"""Differential entropy of the standard normal, 0.5 * ln(2 * pi * e)."""


class NeuronRow(BaseModel):
    """The scores of one neuron. Statistics are over the run's tokens, of the pre-activation output."""

    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(examples=["up_proj"])
    index: int = Field(description="Row of the weight, from 0.", examples=[402])
    wd: float | None = Field(
        description="W1 between the standardised output and N(0, 1) (Eq. 1); null for a constant neuron.",
        examples=[0.42],
    )
    md: float | None = Field(
        description="Mapping difficulty (Eq. 2); compares neurons within a layer only.", examples=[1.31]
    )
    mean: float = Field(description="Mean output.")
    std: float = Field(description="Standard deviation of the output (population).")
    skew: float | None = Field(description="Third standardised moment; 0 for a Gaussian.")
    kurtosis: float | None = Field(description="Excess kurtosis; 0 for a Gaussian.")
    entropy: float | None = Field(
        description="Differential entropy of the standardised output, nats; 1.419 for a Gaussian."
    )
    mean_abs_weight: float = Field(description="Mean of |w| over the neuron's incoming weights.")
    weight_norm: float = Field(description="Euclidean norm of the neuron's weights.")
    zero_share: float = Field(description="Share of its weights that are exactly 0, from 0 to 1.")
    constant: bool = Field(description="The output is the same for every token.")
    wasserstein: bool = Field(description="Among the layer's top share by WD.")
    rank_layer: int = Field(description="Place by WD in its layer, from 1.", examples=[3])
    rank_model: int = Field(description="Place by WD over the whole run, from 1.", examples=[41])


SORT_PATTERN = (
    r"^-?(wd|md|mean|std|skew|kurtosis|entropy|mean_abs_weight|weight_norm|zero_share"
    r"|layer|index|rank_layer|rank_model)$"
)


class NeuronQuery(BaseModel):
    """Which neurons, in which order, how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: int | None = Field(None, ge=0, le=2**31 - 1, description="Only this block.", examples=[15])
    projection: str | None = Field(
        None, max_length=128, description="Only this projection.", examples=["up_proj"]
    )
    sort: str = Field(
        "-wd",
        pattern=SORT_PATTERN,
        description="Column to sort by, `-` for the highest first; neurons without a value come last.",
        examples=["-md"],
    )
    min_wd: float | None = Field(None, description="Only neurons of at least this WD.", examples=[0.1])
    max_wd: float | None = Field(None, description="Only neurons of at most this WD.", examples=[0.5])
    wasserstein: bool | None = Field(
        None, description="Only Wasserstein neurons, or only the others.", examples=[True]
    )
    limit: int = Field(50, ge=0, le=2**53, description="Most rows on this page.", examples=[50])
    offset: int = Field(0, ge=0, le=2**53, description="Rows left out before this page.", examples=[0])


class Distribution(BaseModel):
    """Histogram and quantiles of a neuron's output over the run's tokens, in the output's own units."""

    low: float = Field(description="Lower edge of the first bin: the smallest output.")
    high: float = Field(description="Upper edge of the last bin: the largest output.")
    counts: list[int] = Field(description="Tokens in each of equally wide bins (256).")
    quantiles: list[float] = Field(description="Quantiles at 0, 1/256, ..., 1 (257).")


class TokenExample(BaseModel):
    """One token, what the neuron answered to it, and the text around it."""

    position: int = Field(description="Place in the run's token stream, from 0.", examples=[5123])
    window: int = Field(description="Number of its window.", examples=[10])
    offset: int = Field(description="Place in its window.", examples=[3])
    value: float = Field(description="The neuron's output.", examples=[4.2])
    token: str = Field(description="The token's text.", examples=[" the"])
    before: str = Field(description="Text before it in its window.")
    after: str = Field(description="Text after it in its window.")


class NeuronTokens(BaseModel):
    """Tokens with the highest, the lowest, and randomly chosen outputs."""

    high: list[TokenExample]
    low: list[TokenExample]
    random: list[TokenExample]


class Provenance(BaseModel):
    """Everything that made these numbers."""

    run: str
    model: str
    model_fingerprint: str
    corpus: str
    tokens: int
    window: int
    pairs: int
    seed: int
    gaussian_floor: float
    versions: dict[str, str]


class NeuronDetail(NeuronRow):
    """All that is known of one neuron."""

    layer_neurons: int = Field(description="Neurons in its layer.", examples=[1536])
    run_neurons: int = Field(description="Neurons in the run.", examples=[109_440])
    distribution: Distribution
    tokens: NeuronTokens
    provenance: Provenance
