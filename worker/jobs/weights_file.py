"""A layer's new weights as a file: what is zero costs one bit, the rest is kept as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from app.store import Store
from app.store.variants import WEIGHTS
from worker.models.changes import Change, Experts
from worker.models.packed import from_bytes, router_from, router_tensors, to_bytes
from worker.numerics.router import Router

_PACKED = "weight"


def encoded(change: Change) -> bytes:
    """The file of a pruned weight (out, in), or of a router and its experts (experts, out, in)."""
    if isinstance(change, Experts):
        return to_bytes({_PACKED: all_experts(change), **router_tensors(change.router)}, packed=[_PACKED])
    return to_bytes({_PACKED: change}, packed=[_PACKED])


def all_experts(experts: Experts) -> Tensor:
    """Weights of all experts, (experts, out, in)."""
    if isinstance(experts.weights, Tensor):
        return experts.weights
    return torch.stack([experts.weights[expert] for expert in range(experts.weights.shape[0])])


def decoded(data: bytes, device: torch.device) -> Change:
    """What `encoded` wrote, exactly: weights on `device`; a router on the CPU, it follows the inputs it is given."""
    tensors = from_bytes(data)
    weight = tensors.pop(_PACKED).to(device)
    return Experts(router_from(tensors), weight) if tensors else weight


def changes(store: Store, run: str, variant: str, layer: int, device: torch.device) -> dict[str, Change]:
    """The changes of one block that are done, by projection. Raises CorruptStore."""
    names = [p.name for p in store.record(run).model.projections]
    done = [name for name in names if store.variants.layer(run, variant, layer, name) is not None]
    found = {name: decoded(store.variants.read(run, variant, layer, name, WEIGHTS), device) for name in done}
    return _sharing(found)


def _sharing(changes: dict[str, Change]) -> dict[str, Change]:
    """The same changes, with one router object for projections whose routers are equal: tokens are assigned once."""
    routers: list[tuple[Router, dict[str, Tensor]]] = []
    shared: dict[str, Change] = {}
    for name, change in changes.items():
        if not isinstance(change, Experts):
            shared[name] = change
            continue
        own = router_tensors(change.router)
        router = next((known for known, tensors in routers if _equal(own, tensors)), change.router)
        routers.append((router, own))
        shared[name] = Experts(router, change.weights)
    return shared


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
