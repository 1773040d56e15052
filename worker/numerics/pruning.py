"""One way to prune a layer, whatever the method."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from worker.numerics.errors import NumericsFailure
from worker.numerics.hessian import Factors, Hessian, factorise
from worker.numerics.magnitude import magnitude_mask
from worker.numerics.quantisation import row_grid
from worker.numerics.sparsegpt import sweep
from worker.numerics.spec import Pruned, PruneSpec, check_layer, row_error
from worker.numerics.wanda import wanda_mask


def prune(
    weight: Tensor,
    hessian: Hessian,
    spec: PruneSpec,
    name: str = "the layer",
    factors: Factors | None = None,
) -> Pruned:
    """Prune one linear layer; the argument is not changed.

    weight: (out, in), any float dtype. hessian: of its calibration inputs; SparseGPT works with all of it, Wanda with
    its diagonal, magnitude only to report the error. name: of the layer, for messages. factors: of this one Hessian
    with the spec's damping, where several specs meet it; found here if not given.
    Sparsity 0 without rounding is the identity, sparsity 1 leaves nothing.
    Raises NumericsFailure for NaN or infinity, shapes and N:M that do not fit, a Hessian that stays singular.
    """
    check_layer(weight, hessian.matrix)
    spec.check_width(weight.shape[1])
    original = weight.detach()
    damping, dead = None, 0
    if spec.target in (0.0, 1.0) and (spec.bits is None or spec.target == 1.0):
        kept = torch.full(original.shape, spec.target == 0.0, dtype=torch.bool, device=original.device)
        changed = original * kept
    elif spec.method == "sparsegpt":
        if factors is None:
            factors = factorise(hessian.matrix.unsqueeze(0), spec.damping, [name])
        damping, dead = factors.damping[0], int(factors.dead.sum())
        alive = original.float().masked_fill(factors.dead, 0.0).T.contiguous()
        grid = None if spec.bits is None else row_grid(original, spec.bits)
        found, stays = sweep(alive, factors.lower, spec, grid=grid)
        kept = stays[0].T.contiguous() & ~factors.dead
        changed = found[0].T.contiguous().to(original.dtype)
    else:
        mask = wanda_mask(original, hessian.input_norms, spec) if spec.method == "wanda" else None
        kept = magnitude_mask(original, spec) if mask is None else mask
        rounded = original if spec.bits is None else row_grid(original, spec.bits).round(original.float().T).T
        changed = (rounded * kept).to(original.dtype).contiguous()
    return Pruned(changed, kept, row_error(original, changed, hessian.matrix), damping, dead)


def prune_rows(
    weight: Tensor, hessian: Hessian, spec: PruneSpec, rows: Tensor, name: str = "the layer"
) -> Pruned:
    """Prune only some neurons of a layer and keep the others dense; `spec` counts over the chosen rows alone.

    rows: (k,) int64 indices or (out,) bool mask. To keep a set dense instead, pass the others.
    """
    chosen = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
    if chosen.numel() and (int(chosen.min()) < 0 or int(chosen.max()) >= weight.shape[0]):
        raise NumericsFailure(f"neurons up to {int(chosen.max())} were chosen of {weight.shape[0]}")
    whole = Pruned(
        weight.detach().clone(),
        torch.ones(weight.shape, dtype=torch.bool, device=weight.device),
        torch.zeros(weight.shape[0], device=weight.device),
    )
    if not chosen.numel():
        return whole
    part = prune(weight[chosen], hessian, spec, name)
    whole.weight[chosen] = part.weight
    whole.kept[chosen] = part.kept
    whole.row_error[chosen] = part.row_error
    return replace(whole, damping=part.damping, dead=part.dead)
