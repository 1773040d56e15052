"""Blocks with changed feed-forward layers: bit-equal to a model whose weights were replaced, and put back after."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from app.errors import ModelError
from app.schemas.model import Projection
from tests.unit.models.test_stream import open_folder, some_windows
from tests.unit.tiny import FAMILIES, save_tiny
from worker.models import Block, BlockModel, Experts
from worker.models.memo import Memo
from worker.numerics.expansion import expanded_outputs
from worker.numerics.router import CentroidRouter, RandomRouter

LAYER = 1


def pruned(projection: Projection, seed: int = 3) -> torch.Tensor:
    """A sparse weight of the projection's shape that has nothing to do with the model's."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(projection.out_features, projection.in_features, generator=generator)
    return weight * (weight > 0.5) * 0.3


def centroid_router(width: int, experts: int = 3, seed: int = 0) -> CentroidRouter:
    """A router with centroids of its own choice."""
    generator = torch.Generator().manual_seed(seed)
    return CentroidRouter(
        torch.randn(width, generator=generator) * 0.1,
        torch.randn(2, width, generator=generator),
        torch.randn(experts, 2, generator=generator),
    )


def experts(projection: Projection, router: CentroidRouter | RandomRouter) -> Experts:
    """Sparse experts of the projection's shape."""
    weights = [pruned(projection, 10 + i) for i in range(router.experts)]
    return Experts(router, torch.stack(weights))


def replaced(folder: Path, stream: BlockModel, changes: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Outputs of block LAYER of transformers' own model with its weights replaced, for its own input."""
    own = AutoModel.from_pretrained(folder).eval()
    block = own.get_submodule(stream._path)[LAYER]
    with torch.no_grad():
        for projection in stream.inspection.projections:
            if projection.name in changes:
                weight = block.get_submodule(projection.module).weight
                rows = slice(projection.first_row, projection.first_row + projection.out_features)
                (weight.T if projection.transposed else weight)[rows] = changes[projection.name].to(
                    weight.dtype
                )
    (batch,) = stream.embed(some_windows([24, 24]))
    with torch.no_grad():
        out = block(batch.hidden, *batch.calls[LAYER].args, **batch.calls[LAYER].kwargs)
    return [batch.hidden, out[0] if isinstance(out, tuple) else out]


def state(block: Block) -> dict[str, tuple[int, bool]]:
    """Which parameters the block has, and which of its modules run another forward."""
    parameters = {name: (id(p), True) for name, p in block.module.named_parameters()}
    return parameters | {
        name: (id(type(m).forward), "forward" in m.__dict__) for name, m in block.module.named_modules()
    }


def subsets(names: list[str]) -> Iterator[list[str]]:
    yield names
    yield from ([name] for name in names)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [(family, torch.float32) for family in FAMILIES]
    + [(family, torch.bfloat16) for family in ("llama", "gpt2", "phi3")],
)
def test_pruned_weights_are_bit_equal_to_a_model_that_has_them(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = save_tiny(family, tmp_path / "model", dtype=dtype)
    stream = open_folder(folder)
    projections = {p.name: p for p in stream.inspection.projections}
    (batch,) = stream.embed(some_windows([24, 24]))
    for names in subsets(list(projections)):
        changes = {name: pruned(projections[name]) for name in names}
        _, wanted = replaced(folder, stream, changes)
        with stream.block(LAYER) as block:
            before, dense = state(block), block.forward(batch.hidden, batch)
            with block.changed(changes):
                assert torch.equal(block.forward(batch.hidden, batch), wanted)
            assert state(block) == before
            assert torch.equal(block.forward(batch.hidden, batch), dense)
            assert not torch.equal(dense, wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_compute_each_token(family: str, tmp_path: Path) -> None:
    """Against the definition, from captured inputs and outputs of every feed-forward module."""
    stream = open_folder(save_tiny(family, tmp_path / "model"))
    projections = {p.name: p for p in stream.inspection.projections}
    (batch,) = stream.embed(some_windows([24, 24]))
    for names in subsets(list(projections)):
        changes = {n: experts(projections[n], centroid_router(projections[n].in_features)) for n in names}
        with stream.block(LAYER) as block:
            before = state(block)
            with block.changed(changes), block.capture() as captured:
                outputs = outputs_of(block, stream, batch)
            weights = {p.projection.name: p for p in block.projections()}
            for name, p in projections.items():
                flat = captured[p.module].reshape(-1, p.in_features)
                got = outputs[p.module].reshape(len(flat), -1)[:, p.first_row : p.first_row + p.out_features]
                bias = weights[name].bias
                if name not in changes:
                    wanted = torch.nn.functional.linear(flat, weights[name].weight, bias)
                    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)
                    continue
                labels = changes[name].router.assign(flat)
                assert len(labels.unique()) > 1
                assert torch.equal(got, expanded_outputs(flat, changes[name].weights, labels, bias))
                rows = torch.stack(
                    [changes[name].weights[label] @ x for label, x in zip(labels, flat, strict=True)]
                )
                slow = rows if bias is None else rows + bias
                torch.testing.assert_close(got, slow, atol=1e-5, rtol=1e-5)
            assert state(block) == before


def outputs_of(block: Block, stream: BlockModel, batch: object) -> dict[str, torch.Tensor]:
    """What each feed-forward module gives in one forward."""
    outputs: dict[str, torch.Tensor] = {}
    hooks = [
        block.module.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: outputs.__setitem__(name, out.clone())
        )
        for name in {p.module for p in stream.inspection.projections}
    ]
    block.forward(batch.hidden, batch)  # type: ignore[attr-defined]
    for hook in hooks:
        hook.remove()
    return outputs


def test_one_part_pruned_and_the_other_with_experts(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("phi3", tmp_path / "model"))
    gate, up, _ = stream.inspection.projections
    (batch,) = stream.embed(some_windows([24]))
    weight, some = pruned(gate), experts(up, centroid_router(up.in_features))
    with stream.block(LAYER) as block:
        with block.changed({gate.name: weight, up.name: some}), block.capture() as captured:
            outputs = outputs_of(block, stream, batch)[gate.module][0]
        flat = captured[gate.module][0]
        torch.testing.assert_close(outputs[:, : gate.out_features], flat @ weight.T)
        wanted = expanded_outputs(flat, some.weights, some.router.assign(flat))
        assert torch.equal(outputs[:, gate.out_features :], wanted)


class Counting:
    """A router that counts."""

    def __init__(self, router: CentroidRouter) -> None:
        self.router, self.calls, self.experts = router, 0, router.experts

    def assign(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.router.assign(inputs)


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt_neox"])
def test_tokens_are_assigned_once_for_each_input(family: str, tmp_path: Path) -> None:
    stream = open_folder(save_tiny(family, tmp_path / "model"))
    *wide, down = stream.inspection.projections
    batches = stream.embed(some_windows([24, 24, 17]))
    first, second = Counting(centroid_router(32)), Counting(centroid_router(down.in_features))
    changes = {p.name: experts(p, first) for p in wide} | {down.name: experts(down, second)}  # type: ignore[arg-type]
    with stream.block(LAYER) as block, block.changed(changes):
        for batch in batches:
            block.forward(batch.hidden, batch)
    assert (first.calls, second.calls) == (len(batches), len(batches))


def test_one_expert_is_the_pruned_weight(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("gpt2", tmp_path / "model"))
    (batch,) = stream.embed(some_windows([24]))
    weights = {p.name: pruned(p) for p in stream.inspection.projections}
    router = RandomRouter(torch.ones(1, dtype=torch.float64), 0)
    with stream.block(LAYER) as block:
        with block.changed(weights):
            wanted = block.forward(batch.hidden, batch)
        with block.changed({name: Experts(router, weight[None]) for name, weight in weights.items()}):
            torch.testing.assert_close(block.forward(batch.hidden, batch), wanted, atol=1e-6, rtol=1e-5)


def test_the_block_is_put_back_after_a_failure(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "model"))
    gate, up, _ = stream.inspection.projections
    (batch,) = stream.embed(some_windows([24]))
    with stream.block(LAYER) as block:
        before = state(block)
        changes = {gate.name: pruned(gate), up.name: experts(up, centroid_router(32))}
        with pytest.raises(RuntimeError), block.changed(changes):
            block.forward(batch.hidden[..., :5], batch)
        assert state(block) == before
        with block.changed({}):
            assert state(block) == before


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    stream = open_folder(save_tiny("llama", tmp_path / "model"))
    gate, up, down = stream.inspection.projections
    with stream.block(LAYER) as block:
        before = state(block)
        for changes, message in [
            ({"fc1": pruned(gate)}, r"no projection 'fc1'"),
            ({up.name: pruned(up), down.name: pruned(up)}, r"'down_proj' has the shape \[48, 32\]"),
            ({down.name: experts(up, centroid_router(32))}, r"has the shape \[3, 48, 32\]"),
            ({up.name: Experts(centroid_router(32, 2), pruned(up)[None])}, r"has 1 experts, its router 2"),
        ]:
            with pytest.raises(ModelError, match=message), block.changed(changes):
                pytest.fail("a change that does not fit was made")
            assert state(block) == before
        with block.changed({}), pytest.raises(ModelError, match="changed already"), block.changed({}):
            pytest.fail("changed twice")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_inputs_alone_are_those_of_a_whole_forward(family: str, tmp_path: Path) -> None:
    save_tiny(family, tmp_path)
    model = open_folder(tmp_path)
    (batch,) = model.embed(some_windows([24, 24]))
    with model.block(0) as block:
        with block.capture() as whole:
            block.forward(batch.hidden, batch)
        alone = block.inputs(batch.hidden, batch)
        assert alone.keys() == whole.keys()
        assert all(torch.equal(alone[name], whole[name]) for name in whole)
        assert not any(module._forward_pre_hooks for module in block.module.modules())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_second_forward_on_the_same_input_recalls_what_comes_before_the_changes(
    family: str, tmp_path: Path
) -> None:
    """Bit-equal to one that computes everything, and the attention is not called again."""
    model = open_folder(save_tiny(family, tmp_path / "model"))
    (batch,) = model.embed(some_windows([24, 24]))
    changes = {p.name: pruned(p) for p in model.inspection.projections}
    memo = Memo()
    with model.block(LAYER) as block:
        before = state(block)
        first = block.inputs(batch.hidden, batch, memo)
        assert bool(memo.outputs) is (family != "gemma2"), (
            "gemma2's attention returns its weights too: too much to keep"
        )
        assert not any(p.module.startswith(path) for path in memo.outputs for p in block._projections)
        assert all(
            torch.equal(first[name], value) for name, value in block.inputs(batch.hidden, batch).items()
        )
        with block.changed(changes):
            wanted = block.forward(batch.hidden, batch)
            with forbidden(block, memo):
                assert torch.equal(block.forward(batch.hidden, batch, memo), wanted)
            other = block.forward(batch.hidden.clone(), batch, memo)
            assert torch.equal(other, wanted), "another tensor is another input"
        assert state(block) == before


@contextlib.contextmanager
def forbidden(block: Block, memo: Memo) -> Iterator[None]:
    """Within, nothing inside the modules that `memo` knows may run."""

    def fail(module: torch.nn.Module, _: object) -> None:
        pytest.fail(f"{module} ran again")

    inner = [m for path in memo.outputs for m in block.module.get_submodule(path).children()]
    handles = [module.register_forward_pre_hook(fail) for module in inner]
    assert bool(handles) is bool(memo.outputs)
    yield
    for handle in handles:
        handle.remove()


def test_what_was_changed_in_place_is_computed_again(tmp_path: Path) -> None:
    model = open_folder(save_tiny("llama", tmp_path / "model"))
    (batch,) = model.embed(some_windows([24, 24]))
    memo = Memo()
    with model.block(LAYER) as block:
        wanted = block.forward(batch.hidden, batch)
        block.inputs(batch.hidden, batch, memo)
        for kept in memo.outputs.values():
            kept.output[0].add_(1.0)
        assert torch.equal(block.forward(batch.hidden, batch, memo), wanted)
