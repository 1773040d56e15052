"""Prunings: layers with some of their weights set to zero."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.variant import Coverage, SparsitySettings, Variant, VariantSubmitted


class Method(StrEnum):
    """Which weights go, and whether the others make up for them."""

    sparsegpt = "sparsegpt"
    """Smallest effect on the outputs; the others are corrected (Frantar & Alistarh 2023)."""
    wanda = "wanda"
    """Smallest |w| times its input's norm, per neuron (Sun et al. 2024)."""
    magnitude = "magnitude"
    """Smallest |w|."""


METHOD_TITLES = {Method.sparsegpt: "SparseGPT", Method.wanda: "Wanda", Method.magnitude: "magnitude"}


class Criterion(StrEnum):
    """By what neurons are chosen."""

    wd = "wd"
    random = "random"
    mean_abs_weight = "mean_abs_weight"
    variance = "variance"


class NeuronChoice(BaseModel):
    """Some of each layer's neurons (Fig. 3 of the paper prunes only these)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Criterion = Field(
        Criterion.wd, description="The neurons highest in this, or drawn at random.", examples=["wd"]
    )
    share: float = Field(0.03, gt=0, le=1, description="Share of a layer's neurons.", examples=[0.03])
    keep: bool = Field(
        False,
        description="Keep the chosen ones dense and prune the others; otherwise prune the chosen ones alone.",
        examples=[False],
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the random choice.", examples=[0])


class PruningSettings(SparsitySettings):
    """What names a pruning of a run."""

    method: Method = Field(
        Method.sparsegpt,
        description="`sparsegpt` corrects the remaining weights; `wanda` and `magnitude` are its baselines.",
        examples=["sparsegpt"],
    )
    neurons: NeuronChoice | None = Field(
        None, description="Prune some neurons of each layer only; all when null."
    )

    @property
    def title(self) -> str:
        """In words."""
        words = [f"{METHOD_TITLES[self.method]} {self.amount}"]
        if self.neurons is not None:
            which = {
                "wd": "highest WD",
                "mean_abs_weight": "highest mean |w|",
                "variance": "highest variance",
            }
            chosen = f"{100 * self.neurons.share:.3g} % {which.get(self.neurons.by, self.neurons.by)}"
            words.append(f"all but {chosen}" if self.neurons.keep else f"only {chosen}")
        if self.per_row:
            words.append("per row")
        if self.propagate:
            words.append("propagated")
        return ", ".join(words)


class PruningRequest(PruningSettings, Coverage):
    """Which layers to prune, and how."""

    @property
    def settings(self) -> PruningSettings:
        """The request without its layers."""
        return PruningSettings.model_validate(self.model_dump(exclude=set(Coverage.model_fields)))

    @property
    def coverage(self) -> Coverage:
        """Its layers."""
        return Coverage(layers=self.layers, projections=self.projections)


class Pruning(Variant):
    """A pruning and how far it has come."""

    settings: PruningSettings = Field(description="How it prunes.")


class PruningSubmitted(VariantSubmitted):
    """What became of a submitted pruning."""

    pruning: Pruning = Field(description="The pruning, new or known.")
