"""Expansions: layers replaced by mixtures of sparse experts (Sparse Expansion)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from app.schemas.variant import Coverage, SparsitySettings, Variant, VariantSubmitted


class Clusters(StrEnum):
    """How tokens are dealt to experts."""

    kmeans = "kmeans"
    """Nearest of k centroids of their inputs, as in the paper."""
    random = "random"
    """Control: clusters of the same sizes filled at random."""


class ExpansionSettings(SparsitySettings):
    """What names an expansion of a run. Experts are pruned with SparseGPT."""

    experts: int = Field(
        16,
        ge=1,
        le=1024,
        description="Experts of each layer: the clusters its inputs are dealt to.",
        examples=[16],
    )
    reduction: int = Field(
        32,
        ge=1,
        description="Inputs are reduced to width // reduction principal components before clustering.",
        examples=[32],
    )
    clusters: Clusters = Field(
        Clusters.kmeans,
        description="`random` is the control: clusters of the same sizes filled with tokens at random.",
        examples=["kmeans"],
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of PCA, k-means and random clusters.", examples=[0]
    )

    @property
    def title(self) -> str:
        """In words."""
        words = [f"{self.experts} experts {self.amount}"]
        if self.clusters is Clusters.random:
            words.append("random clusters")
        if self.reduction != 32:
            words.append(f"r = {self.reduction}")
        if self.per_row:
            words.append("per row")
        if self.propagate:
            words.append("propagated")
        return ", ".join(words)


class ExpansionRequest(ExpansionSettings, Coverage):
    """Which layers to expand, and how."""

    @property
    def settings(self) -> ExpansionSettings:
        """The request without its layers."""
        return ExpansionSettings.model_validate(self.model_dump(exclude=set(Coverage.model_fields)))

    @property
    def coverage(self) -> Coverage:
        """Its layers."""
        return Coverage(layers=self.layers, projections=self.projections)


class Expansion(Variant):
    """An expansion and how far it has come."""

    settings: ExpansionSettings = Field(description="How it expands.")


class ExpansionSubmitted(VariantSubmitted):
    """What became of a submitted expansion."""

    expansion: Expansion = Field(description="The expansion, new or known.")


class ExpertToken(BaseModel):
    """A token that went to an expert, in its text."""

    position: int = Field(description="Place in the run's token stream, from 0.", examples=[5123])
    token: str = Field(description="The token's text.", examples=[" the"])
    before: str = Field(description="Text before it in its window.", examples=["in the middle of"])
    after: str = Field(description="Text after it in its window.", examples=[" night"])


class ExpertTokens(BaseModel):
    """What goes to one expert."""

    expert: int = Field(description="The expert's number, from 0.", examples=[3])
    tokens: int = Field(description="Calibration tokens of its cluster.", examples=[512])
    share: float = Field(description="The same as a share of all tokens.", examples=[0.0625])
    commonest: list[tuple[str, int]] = Field(
        description="The commonest token texts of the cluster and how often each occurs.",
        examples=[[[" the", 91], [" a", 40]]],
    )
    examples: list[ExpertToken] = Field(description="Some of its tokens in their text, evenly spread.")
