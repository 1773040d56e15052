"""Neurons: rows of an FFN linear layer, with their scores, distributions and tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.variant import EXPANSION_PATTERN, PRUNING_PATTERN

GAUSSIAN_ENTROPY_NATS = 1.4189385332046727
"""Differential entropy of the standard normal, 0.5 * ln(2 * pi * e)."""


class NeuronEffects(BaseModel):
    """What a pruning and an expansion did to a neuron's outputs; null where not asked for, or not done."""

    pruned_wd: float | None = Field(None, description="WD of the pruned outputs.", examples=[0.31])
    pruned_w1: float | None = Field(None, description="W1 between pruned and dense outputs.", examples=[0.12])
    pruned_rmse: float | None = Field(None, description="RMSE of the pruned outputs.", examples=[0.09])
    expanded_wd: float | None = Field(None, description="WD of the expanded outputs.", examples=[0.4])
    expanded_w1: float | None = Field(
        None, description="W1 between expanded and dense outputs.", examples=[0.04]
    )
    expanded_rmse: float | None = Field(None, description="RMSE of the expanded outputs.", examples=[0.05])
    weighted_wd: float | None = Field(
        None, description="Mean WD within the experts' clusters, weighted by their tokens.", examples=[0.11]
    )
    weighted_md: float | None = Field(
        None, description="Mean mapping difficulty within them, weighted alike.", examples=[1.1]
    )
    ri: float | None = Field(
        None, description="RMSE of the pruning over RMSE of the expansion.", examples=[1.65]
    )


class NeuronRow(BaseModel):
    """The scores of one neuron. Statistics are over the run's tokens, of the pre-activation output."""

    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(examples=["up_proj"], description="The projection's name.")
    index: int = Field(description="Row of the weight, from 0.", examples=[402])
    wd: float | None = Field(
        description="W1 between the standardised output and N(0, 1) (Eq. 1); null for a constant neuron.",
        examples=[0.42],
    )
    md: float | None = Field(
        description="Mapping difficulty (Eq. 2); compares neurons within a layer only.", examples=[1.31]
    )
    mean: float = Field(description="Mean output.", examples=[-0.12])
    std: float = Field(description="Standard deviation of the output (population).", examples=[0.87])
    skew: float | None = Field(description="Third standardised moment; 0 for a Gaussian.", examples=[1.9])
    kurtosis: float | None = Field(description="Excess kurtosis; 0 for a Gaussian.", examples=[8.4])
    entropy: float | None = Field(
        description="Differential entropy of the standardised output, nats; 1.419 for a Gaussian.",
        examples=[1.21],
    )
    mean_abs_weight: float = Field(
        description="Mean of |w| over the neuron's incoming weights.", examples=[0.031]
    )
    weight_norm: float = Field(description="Euclidean norm of the neuron's weights.", examples=[0.98])
    zero_share: float = Field(
        description="Share of its weights that are exactly 0, from 0 to 1.", examples=[0.0]
    )
    constant: bool = Field(description="The output is the same for every token.", examples=[False])
    wasserstein: bool = Field(description="Among the layer's top share by WD.", examples=[True])
    rank_layer: int = Field(description="Place by WD in its layer, from 1.", examples=[3])
    rank_model: int = Field(description="Place by WD over the whole run, from 1.", examples=[41])
    effects: NeuronEffects | None = Field(
        None, description="What the pruning and the expansion asked for did to it; null when none is named."
    )


_COLUMNS = (
    r"(wd|md|mean|std|skew|kurtosis|entropy|mean_abs_weight|weight_norm|zero_share"
    r"|layer|index|rank_layer|rank_model"
    r"|pruned_wd|pruned_w1|pruned_rmse|expanded_wd|expanded_w1|expanded_rmse|weighted_wd|weighted_md|ri)"
)
SORT_PATTERN = rf"^-?{_COLUMNS}$"
CONDITION_PATTERN = rf"^{_COLUMNS}(>=|<=|>|<|=)(-?[0-9]{{1,20}}(\.[0-9]{{0,20}})?([eE][-+]?[0-9]{{1,3}})?)$"
"""A column, a comparison and a number; `app.store.scores` reads its groups."""


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
    where: list[Annotated[str, Field(pattern=CONDITION_PATTERN, max_length=80)]] = Field(
        default_factory=list,
        max_length=16,
        description="Only neurons that meet all of these conditions, each a column that can be sorted by, one of "
        ">=, <=, >, <, = and a number; neurons without a value meet none.",
        examples=[["kurtosis>=5", "md<1.2"]],
    )
    pruning: str | None = Field(
        None,
        pattern=PRUNING_PATTERN,
        description="Add what this pruning did to each neuron; sorting by it needs it named.",
        examples=["p-4f1c2a9be0d7"],
    )
    expansion: str | None = Field(
        None,
        pattern=EXPANSION_PATTERN,
        description="Add what this expansion did to each neuron; RI needs both.",
        examples=["x-0123456789ab"],
    )
    limit: int = Field(50, ge=0, le=2**53, description="Most rows on this page.", examples=[50])
    offset: int = Field(0, ge=0, le=2**53, description="Rows left out before this page.", examples=[0])


class Distribution(BaseModel):
    """Histogram and quantiles of a neuron's output over the run's tokens, in the output's own units."""

    low: float = Field(description="Lower edge of the first bin: the smallest output.", examples=[-3.1])
    high: float = Field(description="Upper edge of the last bin: the largest output.", examples=[4.2])
    counts: list[int] = Field(
        description="Tokens in each of equally wide bins (256).", examples=[[0, 2, 17, 204]]
    )
    quantiles: list[float] = Field(
        description="Quantiles at 0, 1/256, ..., 1 (257).", examples=[[-3.1, -0.8, 0.0, 0.7, 4.2]]
    )


class TokenExample(BaseModel):
    """One token, what the neuron answered to it, and the text around it."""

    position: int = Field(description="Place in the run's token stream, from 0.", examples=[5123])
    window: int = Field(description="Number of its window.", examples=[10])
    offset: int = Field(description="Place in its window.", examples=[3])
    value: float = Field(description="The neuron's output.", examples=[4.2])
    token: str = Field(description="The token's text.", examples=[" the"])
    before: str = Field(description="Text before it in its window.", examples=["in the middle of"])
    after: str = Field(description="Text after it in its window.", examples=[" night"])


class NeuronTokens(BaseModel):
    """Tokens with the highest, the lowest, and randomly chosen outputs."""

    high: list[TokenExample] = Field(description="Tokens with the highest outputs, the highest first.")
    low: list[TokenExample] = Field(description="Tokens with the lowest outputs, the lowest first.")
    random: list[TokenExample] = Field(
        description="Tokens chosen at random, the same for all neurons of the run."
    )


class Provenance(BaseModel):
    """Everything that made these numbers."""

    run: str = Field(description="The run's id.", examples=["smollm2-135m-instruct-4f1c2a9be0d7"])
    model: str = Field(description="The model's name for people.", examples=["SmolLM2-135M-Instruct"])
    model_fingerprint: str = Field(
        description="Identity of the model's content.", examples=["gguf-1f2e3d4c5b6a7988"]
    )
    corpus: str = Field(
        description="The corpus' name for people.", examples=["Python's language reference (built in)"]
    )
    tokens: int = Field(description="Tokens that entered the statistics.", examples=[8192])
    window: int = Field(description="Tokens of one window.", examples=[512])
    pairs: int = Field(description="Pairs that entered MD.", examples=[4096])
    seed: int = Field(description="Seed of pairs and random tokens.", examples=[0])
    gaussian_floor: float = Field(
        description="Mean WD of a true Gaussian sample of as many tokens.", examples=[0.0104]
    )
    versions: dict[str, str] = Field(
        description="Versions of what computed them.", examples=[{"torch": "2.13.0"}]
    )


class NeuronDetail(NeuronRow):
    """All that is known of one neuron."""

    layer_neurons: int = Field(description="Neurons in its layer.", examples=[1536])
    run_neurons: int = Field(description="Neurons in the run.", examples=[109_440])
    distribution: Distribution = Field(description="Its output over the run's tokens.")
    tokens: NeuronTokens = Field(description="Tokens it answers to most, least, and others.")
    provenance: Provenance = Field(description="What made these numbers.")
