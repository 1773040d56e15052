"""Manifests: what a block or a run consists of, with sizes and checksums. Written last: what has none does not exist."""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydantic import BaseModel, Field

from app.schemas.evaluation import EvaluationRequest, PerplexityResult
from app.schemas.expansion import ExpansionSettings
from app.schemas.pruning import PruningSettings
from app.schemas.run import RunModel, RunRequest
from app.schemas.sweep import SweepPointResult, SweepRequest
from app.schemas.variant import LayerResult
from app.store.files import Stamp


class FileStamp(BaseModel):
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, stamp: Stamp) -> FileStamp:
        """The record of `stamp`."""
        return cls(size=stamp.size, sha256=stamp.sha256)

    def matches_bytes(self, data: bytes) -> bool:
        """Whether `data` are the file's bytes."""
        return self.matches(Stamp(len(data), hashlib.sha256(data).hexdigest()))

    def matches(self, stamp: Stamp | None) -> bool:
        """Whether the file is still what it was."""
        return stamp is not None and (stamp.size, stamp.sha256) == (self.size, self.sha256)


class RunRecord(BaseModel):
    """`request.json`: what was asked for."""

    request: RunRequest
    model: RunModel
    corpus_title: str = ""
    corpus_fingerprint: str = Field("", description="Of the corpus' text; empty when it was not at hand.")
    created_at: datetime


class RunFacts(BaseModel):
    """`facts.json`: what is known before the first block."""

    tokens: int = Field(description="Tokens that enter the statistics.")
    pairs: int = Field(description="Pairs that enter MD.")
    gaussian_floor: float
    device: str
    versions: dict[str, str]


class BlockManifest(BaseModel):
    """`manifest.json` of a block."""

    layer: int
    neurons: int
    seconds: float
    files: dict[str, FileStamp] = Field(description="By name below the block's folder.")


class RunManifest(BaseModel):
    """`manifest.json` of a run."""

    finished_at: datetime
    neurons: int
    seconds: float
    peak_bytes: int | None = None
    facts: RunFacts
    files: dict[str, FileStamp] = Field(
        description="By name below the run's folder; blocks by their manifests."
    )


class VariantRecord(BaseModel):
    """`record.json` of a pruning or an expansion: its settings, and when it was first asked for."""

    pruning: PruningSettings | None = None
    expansion: ExpansionSettings | None = None
    created_at: datetime

    @property
    def settings(self) -> PruningSettings | ExpansionSettings:
        """The settings, of whichever it is."""
        found = self.pruning or self.expansion
        if found is None:
            raise ValueError("a record has settings of a pruning or of an expansion")
        return found


class LayerManifest(BaseModel):
    """`manifest.json` of one layer of a variant."""

    result: LayerResult
    files: dict[str, FileStamp] = Field(description="By name below the layer's folder.")


class OutputsRecord(BaseModel):
    """`record.json` of a layer's outputs: that they were asked for."""

    created_at: datetime


class OutputsManifest(BaseModel):
    """`manifest.json` of a layer's outputs."""

    layer: int
    projection: str
    neurons: int
    tokens: int
    left_out: int = Field(description="Pairs of identical inputs, which are not among the stored ones.")
    seconds: float
    device: str
    stored_at: datetime
    files: dict[str, FileStamp] = Field(description="By name below the folder of the layer's outputs.")


class EvaluationRecord(BaseModel):
    """`record.json` of an evaluation."""

    request: EvaluationRequest
    created_at: datetime


class EvaluationResult(BaseModel):
    """`result.json` of an evaluation, written at its end."""

    results: list[PerplexityResult]
    tokens: int
    windows: int
    seconds: float


class SweepRecord(BaseModel):
    """`record.json` of a sweep."""

    request: SweepRequest
    created_at: datetime


class SweepManifest(BaseModel):
    """`manifest.json` of a sweep, written at its end."""

    results: list[SweepPointResult]
    seconds: float
    files: dict[str, FileStamp] = Field(description="By name below the sweep's folder.")
