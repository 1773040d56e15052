"""Made-up prunings and expansions of the made-up run: what they did to block 3 up_proj, and to nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from app.schemas.distribution import ChangedOutputs, ExpandedOutputs, ExpertOutputs, NeuronDistributions
from app.schemas.expansion import Expansion, ExpansionSettings, ExpertToken, ExpertTokens
from app.schemas.model import Estimate
from app.schemas.neuron import NeuronEffects
from app.schemas.pruning import Pruning, PruningSettings
from app.schemas.variant import Cluster, LayerResult

RUN = "tiny-llama-0123456789ab"
MADE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
PRUNING, EXPANSION = "p-0123456789ab", "x-0123456789ab"
LAYER, PROJECTION = 3, "up_proj"
EXPERTS = 16
SPARSITY = 0.9
BINS, MARGIN = 192, 32
HOSTILE = "<script>window.hacked=1</script>"
ESTIMATE = Estimate(
    tokens=8192,
    host_bytes=1_400_000_000,
    device_bytes=1_400_000_000,
    store_bytes=45_000_000,
    seconds=12.4,
    basis="measured: 105 GFLOP/s on cpu",
)


def sizes(experts: int) -> list[int]:
    """Tokens of each expert: one is tiny, one large, together all."""
    share = np.linspace(1, 3, experts)
    share[0] = 0.01
    found = np.maximum(1, np.floor(8192 * share / share.sum()).astype(int))
    found[-1] += 8192 - found.sum()
    return [int(size) for size in found]


def result(experts: int = 0, layer: int = LAYER, projection: str = PROJECTION) -> LayerResult:
    """What became of a layer."""
    clusters = [
        Cluster(expert=i, tokens=size, own_share=min(1.0, size / 40), damping=0.01)
        for i, size in enumerate(sizes(experts) if experts else [])
    ]
    weights = 96 * 40
    return LayerResult(
        layer=layer,
        projection=projection,
        weights=weights,
        zeros=round(SPARSITY * weights) * max(1, experts),
        sparsity=SPARSITY,
        relative_error=0.29 if experts else 0.38,
        damping=0.01,
        clusters=clusters,
        seconds=1.9,
    )


def a_pruning(**changes: Any) -> Pruning:
    """A pruning of one layer."""
    settings = PruningSettings(sparsity=SPARSITY)
    facts: dict[str, Any] = {
        "id": PRUNING,
        "run": RUN,
        "title": settings.title,
        "created_at": MADE,
        "layers": [result()],
        "layers_total": 18,
        "complete": False,
        "ffn_sparsity": 0.05,
        "model_sparsity": 0.03,
        "settings": settings,
    }
    return Pruning(**facts | changes)


def an_expansion(experts: int = EXPERTS, **changes: Any) -> Expansion:
    """An expansion of the same layer."""
    settings = ExpansionSettings(sparsity=SPARSITY, experts=experts)
    facts: dict[str, Any] = a_pruning().model_dump() | {
        "id": EXPANSION,
        "title": settings.title,
        "layers": [result(experts)],
        "settings": settings,
    }
    return Expansion(**facts | changes)


def effects(layer: int, projection: str, index: int, pruning: bool, expansion: bool) -> NeuronEffects | None:
    """What the two did to one neuron; RI from 0.7 to 3."""
    if not (pruning or expansion):
        return None
    if (layer, projection) != (LAYER, PROJECTION):
        return NeuronEffects()
    sparse, ri = 0.1 + index / 400, 0.7 * 1.015**index
    found: dict[str, float] = {}
    if pruning:
        found |= {"pruned_wd": 0.02 + index / 1000, "pruned_w1": sparse / 2, "pruned_rmse": sparse}
    if expansion:
        found |= {"expanded_wd": 0.04, "expanded_w1": sparse / ri / 2, "expanded_rmse": sparse / ri}
        found |= {"weighted_wd": 0.02, "weighted_md": 1.1}
    if pruning and expansion:
        found["ri"] = ri
    return NeuronEffects(**found)


def distributions(
    layer: int, projection: str, index: int, pruning: bool, expansion: bool, experts: int = EXPERTS
) -> NeuronDistributions:
    """A neuron of two humps: pruning blurs them, experts keep them and share them out."""
    rng = np.random.default_rng([layer, index])
    labels = np.repeat(np.arange(experts), sizes(experts))
    centre = rng.normal(0, 0.6, experts)[labels] + np.where(labels % 3 == 0, 2.2, 0.0)
    dense = centre + rng.normal(0, 0.35, 8192)
    sparse = 0.8 * dense + rng.normal(0.1, 0.45, 8192)
    expanded = 0.95 * dense + rng.normal(0, 0.15, 8192)
    width = float(np.ptp(dense)) / 128
    low = float(dense.min()) - MARGIN * width

    def counts(values: np.ndarray[Any, Any]) -> list[int]:
        places = np.clip(((values - low) / width).astype(int), 0, BINS - 1)
        return [int(count) for count in np.bincount(places, minlength=BINS)]

    grid = low + width * (np.arange(BINS) + 0.5)
    bell = np.exp(-0.5 * ((grid - dense.mean()) / dense.std()) ** 2)
    found = effects(layer, projection, index, pruning, expansion)

    def changed(values: np.ndarray[Any, Any], prefix: str) -> dict[str, Any]:
        rmse = float(getattr(found, f"{prefix}_rmse"))
        return {
            "counts": counts(values),
            "wd": getattr(found, f"{prefix}_wd"),
            "w1": getattr(found, f"{prefix}_w1"),
            "rmse": rmse,
            "relative_rmse": rmse / float(dense.std()),
            "zero_share": SPARSITY,
        }

    return NeuronDistributions(
        layer=layer,
        projection=projection,
        index=index,
        tokens=8192,
        low=low,
        width=width,
        dense=counts(dense),
        gaussian=[float(value) for value in 8192 * bell / bell.sum()],
        wd=0.42,
        md=1.31,
        mean=float(dense.mean()),
        std=float(dense.std()),
        pruning=ChangedOutputs(variant=PRUNING, title=a_pruning().title, **changed(sparse, "pruned"))
        if pruning
        else None,
        expansion=ExpandedOutputs(
            variant=EXPANSION,
            title=an_expansion(experts).title,
            **changed(expanded, "expanded"),
            weighted_wd=0.02,
            weighted_md=1.1,
            experts=[
                ExpertOutputs(
                    expert=i,
                    tokens=int((labels == i).sum()),
                    counts=counts(expanded[labels == i]),
                    wd=None if i == 0 else 0.01 * i,
                )
                for i in range(experts)
            ],
            token_experts={40 * i: i % experts for i in range(16)},
        )
        if expansion
        else None,
        ri=found.ri if found else None,
    )


def expert_tokens(experts: int = EXPERTS) -> list[ExpertTokens]:
    """What goes to each expert; the last one gets nothing, the first one markup."""
    words = [" the", " of", " is", "\n", ".", " value", " expression", " class", "def"]
    found = sizes(experts)
    return [
        ExpertTokens(
            expert=i,
            tokens=found[i],
            share=found[i] / 8192,
            commonest=[(HOSTILE if i == 0 else words[(i + k) % len(words)], 90 - 9 * k) for k in range(9)],
            examples=[
                ExpertToken(
                    position=100 * i + k,
                    token=words[(i + k) % len(words)],
                    before="The statement is executed as follows, where the target",
                    after=" is evaluated once and bound in the\nlocal namespace",
                )
                for k in range(4)
            ],
        )
        for i in range(experts)
    ]
