"""Differences between two runs with the same layers: what became of each neuron's WD and of its rank."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.run import RUN_PATTERN

SORTS = ("distance", "moved", "difference", "wd", "other_wd", "rank", "other_rank", "layer", "index")


class NeuronDifference(BaseModel):
    """One neuron in two runs. Ranks are by WD within its layer, from 1, constant neurons last."""

    layer: int = Field(description="The block's number, from 0.", examples=[15])
    projection: str = Field(description="The projection's name.", examples=["up_proj"])
    index: int = Field(description="Row of the weight, from 0.", examples=[402])
    wd: float | None = Field(
        description="WD in this run; null where the output is constant.", examples=[0.42]
    )
    other_wd: float | None = Field(description="WD in the other run; null likewise.", examples=[0.31])
    difference: float | None = Field(
        description="WD in this run less WD in the other; null where one of them is.", examples=[0.11]
    )
    rank: int = Field(description="Place by WD in its layer in this run, from 1.", examples=[3])
    other_rank: int = Field(description="Place by WD in its layer in the other run, from 1.", examples=[41])
    moved: int = Field(
        description="Other rank less rank: above 0 it is nearer the top in this run.", examples=[38]
    )
    distance: int = Field(description="Places moved, whichever way.", examples=[38])
    layer_neurons: int = Field(
        description="Neurons of its layer: what the ranks are out of.", examples=[1536]
    )


class DifferenceQuery(BaseModel):
    """Which other run, which neurons, in which order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    other: str = Field(
        pattern=RUN_PATTERN,
        description="The run to compare with; it must have the same layers, of the same sizes.",
        examples=["smollm2-135m-instruct-0123456789ab"],
    )
    layer: int | None = Field(None, ge=0, le=2**31 - 1, description="Only this block.", examples=[15])
    projection: str | None = Field(
        None, max_length=128, description="Only this projection.", examples=["up_proj"]
    )
    sort: str = Field(
        "-distance",
        pattern=rf"^-?({'|'.join(SORTS)})$",
        description="Column to sort by, `-` for the highest first; neurons without a value come last.",
        examples=["-difference"],
    )
    limit: int = Field(50, ge=0, le=2**31, description="Most rows on this page.", examples=[50])
    offset: int = Field(0, ge=0, le=2**53, description="Rows left out before this page.", examples=[0])
