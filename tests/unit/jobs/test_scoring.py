"""What is kept of a block's layers, and that neither batches nor chunks change the scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from app.errors import ModelError, NumericsError
from app.schemas.model import Projection
from worker.jobs.scoring import Kept, Linear, score_linear
from worker.numerics.mapping import pair_distances
from worker.numerics.reference import ScoreReference, score_reference
from worker.numerics.scoring import score_outputs

TOKENS, NARROW, WIDE = 96, 12, 40


@pytest.fixture(scope="module")
def reference() -> ScoreReference:
    return score_reference(TOKENS, 30, seed=3)


def linear(name: str, inner: int, outer: int, bias: bool = True) -> Linear:
    generator = torch.Generator().manual_seed(len(name))
    weight = torch.randn(outer, inner, generator=generator)
    projection = Projection(name=name, module=f"mlp.{name}", in_features=inner, out_features=outer)
    return Linear(projection, weight, torch.randn(outer, generator=generator) if bias else None)


@pytest.fixture
def linears() -> list[Linear]:
    return [
        linear("gate", NARROW, WIDE),
        linear("up_", NARROW, WIDE, bias=False),
        linear("down__", WIDE, NARROW),
    ]


@pytest.fixture
def streams() -> tuple[Tensor, Tensor]:
    """Inputs of gate and up, and of down, over all tokens."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(TOKENS, NARROW, generator=generator), torch.randn(TOKENS, WIDE, generator=generator)


def feed(kept: Kept, streams: tuple[Tensor, Tensor], sizes: list[int]) -> None:
    start = 0
    for size in sizes:
        x, h = (stream[start : start + size][None] for stream in streams)
        kept.take({"mlp.gate": x, "mlp.up_": x, "mlp.down__": h}, start)
        start += size


@pytest.mark.parametrize("sizes", [[96], [32, 32, 32], [50, 46], [1, 94, 1]])
@pytest.mark.parametrize("chunk_bytes", [1, 3 * 4 * TOKENS, 1 << 20])
def test_scores_equal_those_of_the_whole_layer_at_once(
    linears: list[Linear],
    streams: tuple[Tensor, Tensor],
    reference: ScoreReference,
    sizes: list[int],
    chunk_bytes: int,
) -> None:
    kept = Kept(linears, reference)
    feed(kept, streams, sizes)
    for one in linears:
        x = streams[0] if one.widens else streams[1]
        outputs = torch.nn.functional.linear(x, one.weight, one.bias).T.contiguous()
        whole = score_outputs(outputs, reference, pair_distances(x, reference.pairs))
        told: list[int] = []
        table, arrays = score_linear(kept, one, 5, chunk_bytes, told.append)
        for name in ("wd", "mean", "std"):
            assert table[name].to_numpy() == pytest.approx(
                getattr(whole, name).numpy(), abs=1e-6, rel=1e-5
            ), name
        for name in ("md", "skew", "kurtosis", "entropy"):  # high powers and quotients of rounded outputs
            assert table[name].to_numpy() == pytest.approx(getattr(whole, name).numpy(), abs=1e-5), name
        assert arrays["quantiles"] == pytest.approx(whole.quantiles.numpy(), abs=1e-5)
        assert arrays["counts"].sum(1).tolist() == [TOKENS] * len(outputs)
        assert table["weight_norm"].to_numpy() == pytest.approx(one.weight.norm(dim=1).numpy())
        assert table["layer"].to_pylist() == [5] * len(outputs)
        assert told[-1] == len(outputs)


def test_chunks_do_not_change_a_bit(
    linears: list[Linear], streams: tuple[Tensor, Tensor], reference: ScoreReference
) -> None:
    kept = Kept(linears, reference)
    feed(kept, streams, [48, 48])
    for one in linears:
        whole, small = (torch.cat(list(kept.outputs(one, size))) for size in (1 << 20, 1))
        assert torch.equal(whole, small)


def test_one_tensor_is_kept_for_layers_that_share_it(
    linears: list[Linear], streams: tuple[Tensor, Tensor], reference: ScoreReference
) -> None:
    kept = Kept(linears, reference)
    feed(kept, streams, [48, 48])
    assert list(kept.inputs) == ["mlp.gate"]
    assert torch.equal(kept.inputs["mlp.gate"], streams[0])
    assert list(kept.narrowing) == ["down__"]
    assert kept.narrowing["down__"].paired.shape == (60, WIDE)


def test_equal_values_in_different_tensors_are_kept_apart(
    linears: list[Linear], streams: tuple[Tensor, Tensor], reference: ScoreReference
) -> None:
    kept = Kept(linears, reference)
    x, h = streams
    kept.take({"mlp.gate": x[None], "mlp.up_": x.clone()[None], "mlp.down__": h[None]}, 0)
    assert sorted(kept.inputs) == ["mlp.gate", "mlp.up_"]


def test_half_precision_is_scored_in_float32(
    streams: tuple[Tensor, Tensor], reference: ScoreReference
) -> None:
    full = linear("gate", NARROW, WIDE)
    half = Linear(
        full.projection, full.weight.bfloat16(), full.bias.bfloat16() if full.bias is not None else None
    )
    x = streams[0].bfloat16()
    kept = Kept([half], reference)
    kept.take({"mlp.gate": x[None]}, 0)
    assert kept.inputs["mlp.gate"].dtype is torch.bfloat16
    table, _ = score_linear(kept, half, 0, 1 << 20, lambda done: None)
    assert half.bias is not None
    want = (x.double() @ half.weight.double().T + half.bias.double()).mean(0)
    assert table["mean"].to_numpy() == pytest.approx(want.numpy(), abs=1e-6)


def test_a_constant_neuron_has_null_scores(streams: tuple[Tensor, Tensor], reference: ScoreReference) -> None:
    one = linear("gate", NARROW, WIDE)
    one.weight[7] = 0
    kept = Kept([one], reference)
    kept.take({"mlp.gate": streams[0][None]}, 0)
    row = score_linear(kept, one, 0, 1 << 20, lambda done: None)[0].to_pylist()[7]
    assert one.bias is not None
    assert (row["constant"], row["wd"], row["md"], row["zero_share"]) == (True, None, None, 1.0)
    assert row["mean"] == pytest.approx(float(one.bias[7]))


def test_not_a_number_names_block_and_projection(
    linears: list[Linear], streams: tuple[Tensor, Tensor], reference: ScoreReference
) -> None:
    linears[1].weight[3, 0] = torch.nan
    kept = Kept(linears, reference)
    feed(kept, streams, [96])
    with pytest.raises(NumericsError, match="Block 4, up_: neuron 3 "):
        score_linear(kept, linears[1], 4, 1 << 20, lambda done: None)


def test_a_layer_that_is_never_called_is_refused(
    linears: list[Linear], streams: tuple[Tensor, Tensor], reference: ScoreReference
) -> None:
    with pytest.raises(ModelError, match=r"mlp\.up_"):
        Kept(linears, reference).take({"mlp.gate": streams[0][None]}, 0)
