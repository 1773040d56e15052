"""Models: where they come from, what is inside, what a run on them would cost."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

MODEL_PATTERN = (
    r"^(demo|hub:[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?|path:[^\x00]+|gguf:[^\x00]+\.gguf)$"
)


class ModelSource(BaseModel):
    """A model that can be named in a request right now."""

    source: str = Field(description="What to put into a request.", examples=["demo"])
    title: str = Field(description="Name for people.", examples=["SmolLM2-135M-Instruct (offline demo)"])
    kind: Literal["demo", "hub", "path", "gguf"] = Field(description="Kind of source.", examples=["demo"])


class ModelSources(BaseModel):
    """What there is, and how else a model may be named."""

    items: list[ModelSource] = Field(description="Models that can be named right now.")
    total: int = Field(description="How many.", examples=[1])
    forms: list[str] = Field(
        description="The forms a model's name may have.",
        examples=[["demo", "hub:EleutherAI/pythia-1.4b@step143000"]],
    )


class Projection(BaseModel):
    """One linear layer of a block's feed-forward network, the same in every block that has it."""

    name: str = Field(
        description="The module's own last name; for a part of a fused matrix, the part's.",
        examples=["gate_proj"],
    )
    module: str = Field(description="Path of the module inside its block.", examples=["mlp.gate_proj"])
    in_features: int = Field(description="Width of its input.", examples=[576])
    out_features: int = Field(description="Its neurons.", examples=[1536])
    first_row: int = Field(
        0, description="First row of the module's output that belongs to it (fused matrices).", examples=[0]
    )
    transposed: bool = Field(
        False, description="Weight stored as (in, out), as GPT-2's Conv1D does.", examples=[False]
    )
    bias: bool = Field(False, description="Whether it has a bias.", examples=[False])


class Estimate(BaseModel):
    """What a run would take, before any work."""

    tokens: int = Field(description="Tokens it is for.", examples=[8192])
    host_bytes: int = Field(
        description="Peak memory of the worker's process, bytes.", examples=[1_400_000_000]
    )
    device_bytes: int = Field(
        description="Peak device memory, bytes; equals `host_bytes` on CPU.", examples=[1_400_000_000]
    )
    store_bytes: int = Field(
        description="Size of the finished run in the store, bytes.", examples=[780_000_000]
    )
    seconds: float = Field(description="Time on the fastest live worker.", examples=[75.0])
    basis: str = Field(description="What the time rests on.", examples=["measured: 105 GFLOP/s on cpu"])


class ModelInspection(BaseModel):
    """A model described from its configuration and file headers alone; no weights are loaded."""

    source: str = Field(description="As asked for.", examples=["demo"])
    title: str = Field(description="Name for people.", examples=["SmolLM2-135M-Instruct"])
    fingerprint: str = Field(
        description="Identity of the content: hub commit or digest of the files.",
        examples=["gguf-1f2e3d4c5b6a7988"],
    )
    family: str = Field(description="Family whose rule found the layers.", examples=["llama"])
    architecture: str = Field(
        description="Model class named by the configuration.", examples=["LlamaForCausalLM"]
    )
    dtype: str = Field(description="Type of the weights once loaded.", examples=["float32"])
    blocks: int = Field(description="Transformer blocks.", examples=[30])
    d_model: int = Field(description="Width of the residual stream.", examples=[576])
    context_length: int = Field(description="Longest input, in tokens.", examples=[8192])
    vocabulary: int = Field(description="Size of the vocabulary.", examples=[49152])
    parameters: int = Field(description="All weights.", examples=[134_515_008])
    ffn_parameters: int = Field(description="Weights of the feed-forward layers.", examples=[79_626_240])
    neurons: int = Field(
        description="Rows of all feed-forward linear layers, over all blocks.", examples=[109_440]
    )
    projections: list[Projection] = Field(
        description="The linear layers of one block's feed-forward network."
    )
    estimate: Estimate | None = Field(None, description="What a run would take.")


class InspectRequest(BaseModel):
    """Which model to look into."""

    model: str = Field(
        pattern=MODEL_PATTERN, max_length=512, description="The model's source.", examples=["demo"]
    )
    tokens: int = Field(8192, gt=0, description="Tokens to estimate for.", examples=[8192])
    window: int = Field(512, gt=1, description="Tokens of one window.", examples=[512])
