"""One block with its weights: run it, read its feed-forward layers, see what goes into them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.errors import ModelError, NumericsError
from app.schemas.model import Projection
from worker.models.changes import Assignments, Change, changed
from worker.models.memo import Memo, keeping, recalling
from worker.models.replay import Batch


@dataclass(frozen=True)
class ProjectionWeight:
    """A feed-forward layer with its weights as the model holds them, in the model's dtype and on its device.

    `weight` (out, in), a view: transposed for Conv1D, the rows of its part for a fused matrix; `bias` (out,) or None.
    The layer computes `inputs @ weight.T + bias`.
    """

    projection: Projection
    weight: Tensor
    bias: Tensor | None


class _AllCaptured(Exception):
    """Every feed-forward module was called."""


class Block:
    """A block whose weights are loaded, for as long as `BlockModel.block` lasts."""

    def __init__(self, layer: int, module: nn.Module, projections: Sequence[Projection]) -> None:
        self.layer, self.module = layer, module
        self._projections = projections
        self._assignments, self._changed = Assignments(), False

    @torch.no_grad()
    def forward(self, hidden: Tensor, batch: Batch, memo: Memo | None = None) -> Tensor:
        """The block's output (B, T, d_model) for its input `hidden` of that shape, called as the model would.

        memo: what `inputs` kept of the very same input, which is not computed again.
        Raises NumericsError when the output is not finite.
        """
        call = batch.calls[self.layer]
        self._assignments.forget()
        fits = memo is not None and memo.fits(self.module, hidden)
        with recalling(self.module, memo) if memo is not None and fits else contextlib.nullcontext():
            output: Any = self.module(hidden, *call.args, **call.kwargs)
        result: Tensor = output[0] if isinstance(output, (tuple, list)) else output
        if not torch.isfinite(result).all():
            raise NumericsError(
                f"The output of block {self.layer} holds NaN or infinity ({_culprit(self.module, hidden)}).",
                hint="Numbers left the range of float16: use the model in bfloat16 or float32."
                if hidden.dtype == torch.float16
                else "Check the model's weights.",
            )
        return result

    def projections(self) -> list[ProjectionWeight]:
        """The feed-forward layers that are scored, in the order of the inspection."""
        found = []
        for projection in self._projections:
            linear = self._linear(projection)
            rows = slice(projection.first_row, projection.first_row + projection.out_features)
            weight = linear.weight.detach()
            weight = (weight.T if projection.transposed else weight)[rows]
            bias = None if linear.bias is None else linear.bias.detach()[rows]
            found.append(ProjectionWeight(projection, weight, bias))
        return found

    def inputs(self, hidden: Tensor, batch: Batch, memo: Memo | None = None) -> dict[str, Tensor]:
        """What `capture` gives of one `forward`, which ends as soon as every feed-forward module was called: the last
        product of matrices is spared. Modules that are never called are missing.

        memo: is filled for a later `forward` on the same input.
        """
        kept = (
            contextlib.nullcontext()
            if memo is None
            else keeping(self.module, [p.module for p in self._projections], memo, hidden)
        )
        with kept, contextlib.suppress(_AllCaptured), self.capture(stop=True) as captured:
            self.forward(hidden, batch)
        return captured

    @contextlib.contextmanager
    def capture(self, *, stop: bool = False) -> Iterator[dict[str, Tensor]]:
        """Inputs by module path, (..., in) as each feed-forward module gets them in one `forward` within.

        The hooks go when the context is left. Two modules that get the very same tensor share it here too.
        stop: leave the context, by an exception, when all are there.
        """
        captured: dict[str, Tensor] = {}
        names = list(dict.fromkeys(projection.module for projection in self._projections))
        with contextlib.ExitStack() as hooks:
            for name in names:

                def keep(
                    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name
                ) -> None:
                    if name in captured:
                        raise ModelError(
                            f"Block {self.layer} calls '{name}' more than once for a batch.",
                            hint="Such a layer's outputs have no single value for each token.",
                        )
                    captured[name] = args[0] if args else next(iter(kwargs.values()))
                    if stop and len(captured) == len(names):
                        raise _AllCaptured

                handle = self.module.get_submodule(name).register_forward_pre_hook(keep, with_kwargs=True)
                hooks.callback(handle.remove)
            yield captured

    @contextlib.contextmanager
    def changed(self, changes: Mapping[str, Change]) -> Iterator[None]:
        """Within, `forward` runs with the named projections changed and everything else, biases too, as it is.

        A pruned weight (out, in) takes the place of the module's own, in the module's dtype; `Experts` compute each
        token by its own expert. Leaving puts the module back. `capture` works within.
        Raises ModelError for a name that is no projection's, a change of another shape, or one within another.
        """
        if self._changed:
            raise ModelError(
                f"Block {self.layer} is changed already.",
                hint="Give all its changes at once, or leave the first.",
            )
        for projection in self._projections:
            if projection.name in changes:
                self._linear(projection)
        self._changed = True
        try:
            with changed(self.module, self._projections, changes, self._assignments):
                yield
        finally:
            self._changed = False

    def _linear(self, projection: Projection) -> Any:
        """The projection's module. Raises ModelError unless it is a plain linear layer of the expected shape."""
        module: Any = self.module.get_submodule(projection.module)
        kind = type(module).__name__
        shape = tuple(module.weight.shape) if hasattr(module, "weight") else ()
        width = shape[0] if projection.transposed else shape[-1] if shape else 0
        if kind != ("Conv1D" if projection.transposed else "Linear") or width != projection.in_features:
            raise ModelError(
                f"'{projection.module}' of block {self.layer} is a {kind} of shape {list(shape)}.",
                hint="Only plain linear layers can be scored.",
            )
        return module


def _culprit(module: nn.Module, hidden: Tensor) -> str:
    """Whether the input was at fault already, for the message."""
    return "its input is finite" if torch.isfinite(hidden).all() else "its input is not finite already"
