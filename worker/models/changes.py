"""Feed-forward layers that run with other weights for a while: pruned ones, or an expert for each token.

Pruned weights take the place of the module's own parameter, so the arithmetic is the module's. Experts replace the
module's `forward`; a fused matrix of which only some rows have experts still runs, and those columns are overwritten.
Everything is put back when the context is left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from app.errors import ModelError
from app.schemas.model import Projection
from worker.numerics.expansion import segments
from worker.numerics.router import Router


class ExpertWeights(Protocol):
    """Weights of a projection's experts, by number: a tensor (experts, out, in), or something that unpacks one."""

    @property
    def shape(self) -> Sequence[int]:
        """(experts, out, in)."""

    def __getitem__(self, expert: int) -> Tensor:
        """(out, in) of one expert."""


@dataclass(frozen=True)
class Experts:
    """A projection whose every token is computed by one of its experts.

    `weights` (experts, out, in). Projections that share their input and the very same `router` are assigned once.
    """

    router: Router
    weights: Tensor | ExpertWeights


Change = Tensor | Experts
"""What takes a projection's place: its pruned weight (out, in), or experts."""


class Assignments:
    """Experts of a forward's tokens, asked of each router once for the modules that get the same tensor."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[Router, weakref.ref[Tensor], Tensor]] = {}
        self._moved: dict[tuple[int, torch.device], tuple[Router, Router]] = {}

    def labels(self, router: Router, inputs: Tensor) -> Tensor:
        """Expert (tokens,) of each of the inputs (..., in)."""
        last = self._last.get(id(router))
        if last is not None and last[0] is router and last[1]() is inputs:
            return last[2]
        labels = self._on(router, inputs.device).assign(inputs.reshape(-1, inputs.shape[-1]))
        self._last[id(router)] = (router, weakref.ref(inputs), labels)
        return labels

    def forget(self) -> None:
        """Let the labels of earlier forwards go."""
        self._last.clear()

    def _on(self, router: Router, device: torch.device) -> Router:
        """The router with its tensors on `device`, moved there once."""
        key = (id(router), device)
        if key not in self._moved:
            self._moved[key] = (router, router_on(router, device))
        return self._moved[key][1]


def router_on(router: Router, device: torch.device) -> Router:
    """The same router with its tensors on `device`; one that is no dataclass of tensors as it is. MPS has no float64:
    such tensors stay where they are."""
    if not dataclasses.is_dataclass(router) or isinstance(router, type):
        return router
    values = {f.name: getattr(router, f.name) for f in dataclasses.fields(router) if f.init}
    tensors = {
        name: value.to(device)
        for name, value in values.items()
        if isinstance(value, Tensor) and not (device.type == "mps" and value.dtype == torch.float64)
    }
    return dataclasses.replace(router, **tensors) if tensors else router


def expert_outputs(inputs: Tensor, experts: Experts, labels: Tensor, bias: Tensor | None) -> Tensor:
    """Outputs (..., out) for inputs (..., in), in their dtype; an expert is fetched only if a token goes to it.

    labels: (tokens,) int64, one for each input. bias: (out,). The arithmetic of `expanded_outputs`.
    """
    count, out, width = experts.weights.shape
    flat = inputs.reshape(-1, width)
    parts = segments(labels, count)
    ordered, outputs = flat[parts.order], flat.new_empty(len(flat), out)
    for expert, here in enumerate(parts.slices()):
        if here.stop > here.start:
            weight = experts.weights[expert].to(device=flat.device, dtype=flat.dtype)
            outputs[parts.order[here]] = nn.functional.linear(ordered[here], weight, bias)
    return outputs.reshape(*inputs.shape[:-1], out)


@contextlib.contextmanager
def changed(
    module: nn.Module,
    projections: Sequence[Projection],
    changes: Mapping[str, Change],
    assignments: Assignments,
) -> Iterator[None]:
    """Run the block `module` with the named projections changed, until the context is left.

    Raises ModelError for a name that is no projection's, or a change of another shape.
    """
    check_changes(projections, changes)
    by_module: dict[str, list[Projection]] = {}
    for projection in projections:
        by_module.setdefault(projection.module, []).append(projection)
    with contextlib.ExitStack() as undo:
        undo.callback(assignments.forget)
        for path, parts in by_module.items():
            linear: Any = module.get_submodule(path)
            weights = [(p, change) for p in parts if isinstance(change := changes.get(p.name), Tensor)]
            experts = [
                (p, _experts_on(change, linear.weight.device))
                for p in parts
                if isinstance(change := changes.get(p.name), Experts)
            ]
            if weights:
                undo.callback(linear._parameters.__setitem__, "weight", linear.weight)
                linear._parameters["weight"] = _weight(linear.weight, weights)
            if experts:
                undo.callback(_restore_forward, linear, linear.__dict__.get("forward"))
                linear.forward = _forward(linear, parts, experts, assignments)
        yield


def check_changes(projections: Sequence[Projection], changes: Mapping[str, Change]) -> None:
    """Raise ModelError unless each change is of the shape of the projection it names."""
    known = {projection.name: projection for projection in projections}
    for name, change in changes.items():
        if name not in known:
            raise ModelError(
                f"The model has no projection '{name}'.", hint=f"It has {', '.join(known) or 'none'}."
            )
        wanted = (known[name].out_features, known[name].in_features)
        shape = tuple(change.shape if isinstance(change, Tensor) else change.weights.shape)
        fits = shape == wanted if isinstance(change, Tensor) else len(shape) == 3 and shape[1:] == wanted
        if not fits:
            raise ModelError(
                f"The change of '{name}' has the shape {list(shape)}, the projection {list(wanted)}.",
                hint="It was made for another model.",
            )
        if isinstance(change, Experts) and shape[0] != change.router.experts:
            raise ModelError(f"'{name}' has {shape[0]} experts, its router {change.router.experts}.")


def _experts_on(change: Experts, device: torch.device) -> Experts:
    """The experts with their weights on `device`, moved once; what unpacks itself stays where it is."""
    if not isinstance(change.weights, Tensor) or change.weights.device == device:
        return change
    return dataclasses.replace(change, weights=change.weights.to(device))


def rows_of(projection: Projection) -> slice:
    """Rows of the module's output that are the projection's."""
    return slice(projection.first_row, projection.first_row + projection.out_features)


def _weight(old: Tensor, changes: Sequence[tuple[Projection, Tensor]]) -> nn.Parameter:
    """A copy of the module's weight with the rows of the changed projections replaced, in its own layout and dtype."""
    new = old.detach().clone(memory_format=torch.contiguous_format)
    for projection, weight in changes:
        (new.T if projection.transposed else new)[rows_of(projection)] = weight.to(new.device, new.dtype)
    return nn.Parameter(new, requires_grad=False)


def _forward(
    linear: Any,
    parts: Sequence[Projection],
    experts: Sequence[tuple[Projection, Experts]],
    assignments: Assignments,
) -> Callable[[Tensor], Tensor]:
    own: Callable[[Tensor], Tensor] | None = linear.forward if len(experts) < len(parts) else None

    def forward(inputs: Tensor) -> Tensor:
        return run_experts(own, linear.bias, experts, assignments, inputs)

    return forward


def run_experts(
    own: Callable[[Tensor], Tensor] | None,
    bias: Tensor | None,
    experts: Sequence[tuple[Projection, Experts]],
    assignments: Assignments,
    inputs: Tensor,
) -> Tensor:
    """Outputs (..., rows) of a module for inputs (..., in): of `own` where rows have no experts.

    own: the module's forward, None when all rows have experts. bias: (rows,).
    """
    results = []
    for projection, change in experts:
        labels = assignments.labels(change.router, inputs)
        rows = rows_of(projection)
        results.append((rows, expert_outputs(inputs, change, labels, None if bias is None else bias[rows])))
    if own is None:
        return results[0][1] if len(results) == 1 else torch.cat([part for _, part in results], dim=-1)
    outputs = own(inputs)
    for rows, part in results:
        outputs[..., rows] = part
    return outputs


def _restore_forward(linear: nn.Module, before: Any) -> None:
    if before is None:
        del linear.forward
    else:
        linear.forward = before
