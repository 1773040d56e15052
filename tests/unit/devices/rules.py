"""What the second device refuses and allows, as CUDA does. Started by `test_second_device`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.devices.second_device import Elsewhere, second_device

KIND = os.environ["SECOND_DEVICE"]


@pytest.fixture
def there() -> Iterator[Tensor]:
    """(2, 3) from 0 to 5, on the device."""
    with torch.no_grad(), second_device(KIND):
        yield torch.arange(6, dtype=torch.float32, device=KIND).reshape(2, 3)


REFUSED: dict[str, Callable[[Tensor], object]] = {
    "elementwise": lambda x: x + torch.ones(3),
    "a CPU tensor and a number of the device": lambda x: torch.ones(3) * x.sum(),
    "matrix product": lambda x: x @ torch.ones(3, 3),
    "a number where none is taken": lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
    "cat": lambda x: torch.cat([x, torch.ones(2, 3)]),
    "where": lambda x: torch.where(torch.ones(2, 3).bool(), x, 0.0),
    "equal": lambda x: torch.equal(x, torch.ones(2, 3)),
    "gather": lambda x: x.gather(1, torch.zeros(2, 1, dtype=torch.int64)),
    "index_select": lambda x: x.index_select(0, torch.tensor([0])),
    "searchsorted": lambda x: torch.searchsorted(x, torch.ones(2, 1)),
    "indices of the device into a CPU tensor": lambda x: torch.ones(9)[x[0].long()],
    "a mask of the device into a CPU tensor": lambda x: torch.ones(2, 3)[x > 1],
    "CPU values at indices": lambda x: x.__setitem__(torch.tensor([0]), torch.ones(1, 3)),
    "in place into a CPU tensor": lambda x: torch.ones(2, 3).add_(x),
    "in place into a CPU number": lambda x: torch.tensor(1.0).add_(x.sum()),
    "out= on the CPU": lambda x: torch.mm(x, x.T, out=torch.empty(2, 2)),
    "out= on the device": lambda x: torch.mul(torch.ones(2, 3), 2.0, out=torch.empty_like(x)),
    "attention": lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, torch.ones(2, 3)),
    "a generator of the CPU": lambda x: torch.randn(3, device=x.device, generator=torch.Generator()),
    "a device's tensor made from a mixture": lambda x: x.new_zeros(3) + torch.zeros(3),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_mixture_is_refused(there: Tensor, what: str) -> None:
    with pytest.raises(RuntimeError, match=r"on the same device|device type for generator"):
        REFUSED[what](there)


@pytest.mark.parametrize(
    "read", [lambda x: x.numpy(), np.asarray, lambda x: torch.nn.Parameter(x, requires_grad=False).numpy()]
)
def test_numpy_does_not_reach_it(there: Tensor, read: Callable[[Tensor], object]) -> None:
    with pytest.raises(TypeError, match=f"can't convert {KIND}:0"):
        read(there)


ALLOWED: dict[str, Callable[[Tensor], Tensor]] = {
    "numbers": lambda x: 2.0 * x + torch.tensor(1.0, dtype=torch.float64),
    "a choice between a number and a tensor": lambda x: torch.where(x > 1, 0.0, x),
    "CPU indices": lambda x: x[torch.tensor([1, 0]), 1:],
    "a CPU mask": lambda x: x[torch.tensor([True, False])],
    "its own indices": lambda x: x[:, x[0].long()],
    "CPU indices to write to": lambda x: x.index_put((torch.tensor([1]),), x[0]),
    "moving there": lambda x: x + torch.ones(3).to(x.device) + torch.ones(3).to(KIND),
    "made there": lambda x: torch.cat([x, x.new_ones(1, 3), torch.tensor([[1.0, 2.0, 3.0]], device=KIND)]),
    "out=": lambda x: torch.mm(x, x.T, out=torch.empty(2, 2, device=x.device)),
    "part of out=": lambda x: torch.mul(x, 2.0, out=torch.zeros(4, 3, device=x.device)[1:3]),
    "vector times matrix": lambda x: x[0] @ x.T,
    "another shape in place": lambda x: x.clone().unsqueeze_(0).transpose_(1, 2).squeeze_(0),
    "the other way round": lambda x: x.T.contiguous(),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_what_cuda_allows_gives_the_cpus_result(there: Tensor, what: str) -> None:
    made = ALLOWED[what](there)
    assert isinstance(made, Elsewhere)
    assert made.device == torch.device(KIND, 0)
    assert made.is_cuda == (KIND == "cuda")
    here = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    if what in ("moving there", "made there", "out="):
        expected = {
            "moving there": here + 2.0,
            "made there": torch.cat([here, torch.ones(1, 3), torch.tensor([[1.0, 2.0, 3.0]])]),
            "out=": here @ here.T,
        }[what]
    else:
        expected = ALLOWED[what](here)
    assert made.tolist() == expected.tolist()


def test_writing_into_a_part_of_it_and_copies(there: Tensor) -> None:
    copy = there.cpu()
    assert not isinstance(copy, Elsewhere)
    copy += 1  # another memory
    assert there.tolist() == [[0, 1, 2], [3, 4, 5]]
    there[:, 1:] = torch.full((2, 2), 7.0)  # a copy, which may cross over
    there[0] = 9
    there.T[0].mul_(2.0)
    assert there.tolist() == [[18, 9, 9], [6, 7, 7]]
    copy.copy_(there)
    assert copy.tolist() == there.tolist()
    assert float(there.sum()) == 56
    assert bool((there > 5).all())
    assert there.data_ptr() == there.view(3, 2).data_ptr() != there[1].data_ptr()


def test_modules_move_there(there: Tensor) -> None:
    linear = torch.nn.Linear(3, 2).requires_grad_(False)
    expected = linear(there.cpu())
    with pytest.raises(RuntimeError, match="on the same device"):
        linear(there)
    found = linear.to(there.device)(there)
    assert isinstance(linear.weight, torch.nn.Parameter)
    assert linear.weight.device == there.device
    torch.testing.assert_close(found.cpu(), expected)


def test_float64_is_mps_only_lack(there: Tensor) -> None:
    if KIND == "mps":
        with pytest.raises(TypeError, match="float64"):
            there.double()
        with pytest.raises(TypeError, match="float64"):
            torch.zeros(3, dtype=torch.float64).to(KIND)
    else:
        assert there.double().dtype == torch.float64
    assert there.cpu().double().dtype == torch.float64


def test_outside_of_it_there_is_no_such_device() -> None:
    with second_device(KIND):
        pass
    with pytest.raises((RuntimeError, AssertionError)):
        torch.empty(1, device=KIND)
