"""A second device, made of the CPU: whatever may not be mixed up on a GPU may not be mixed up here.

Within `second_device("cuda")`, tensors are put on, and made on, a device that calls itself `cuda:0`; each is a shell
around a CPU tensor that does the arithmetic. Torch itself then sees two devices, and so does the code under test: its
branches for CUDA are taken. As on the real thing,

- an operation whose tensors lie on both devices raises RuntimeError, except where CUDA allows it: copies, CPU numbers
  (0-dim) in pointwise operations, and CPU indices into a tensor of the device (not the other way round);
- nothing is written into a CPU tensor but by copying;
- `.numpy()` raises TypeError, `.cpu()` and `.to()` copy, `.item()`, `.tolist()` and `bool()` read;
- a random generator has to be the device's own.

"mps" besides refuses float64, as MPS does.

It is no GPU: kernels, their rounding, determinism, speed and memory are the CPU's. Torch keeps in its process that CUDA
was initialised, so this is for processes of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_CPU = torch.device("cpu")
_SHELL = torch.device("privateuseone", 0)
"""What torch itself calls the device."""
_COPIES = {"copy_", "copy", "_to_copy"}
_INDEXED = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}
_TAKE_NUMBERS = {"fill", "fill_", "masked_fill", "masked_fill_"}
"""Not tagged as pointwise, but take a 0-dim CPU tensor as a number."""


class Elsewhere(Tensor):
    """A tensor on the second device; `inner` is the CPU tensor that does its work."""

    inner: Tensor
    place: torch.device

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device) -> Elsewhere:
        if device.type == "mps" and inner.dtype in (torch.float64, torch.complex128):
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=_SHELL,
            requires_grad=False,
        )
        made.inner, made.place = inner, device
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {}, None)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """What it calls its device."""
        return self.place

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """Whether it calls it CUDA."""
        return self.place.type == "cuda"

    @property
    def is_mps(self) -> bool:  # type: ignore[override]
        """Whether it calls it MPS."""
        return self.place.type == "mps"

    def data_ptr(self) -> int:
        """Where its memory is: the same for two shells around the same memory."""
        return self.inner.data_ptr()

    def numpy(self, *, force: bool = False) -> Any:
        """As CUDA's."""
        if force:
            return self.cpu().numpy()
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
            "memory first."
        )

    def __array__(self, *_args: Any, **_kwargs: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        """Its values, read."""
        return self.inner.tolist()

    def __repr__(self, *_args: Any, **_kwargs: Any) -> str:
        return f"Elsewhere({self.inner!r}, device='{self.device}')"


class _Placing(TorchDispatchMode):
    """Makes tensors on the device where they are asked for there."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {}, self.device)


class _Named(TorchFunctionMode):
    """Says torch's name of the device instead of the one it calls itself; gives attention, which picks a kernel before it
    is dispatched, the CPU's; copies what `torch.tensor` would make out of the mode's sight."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        args = [self._named(value) for value in args]
        kwargs = {name: self._named(value) for name, value in (kwargs or {}).items()}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return self._attention(func, args, kwargs)
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == _SHELL:
            return torch.ops.aten._to_copy.default(func(*args, **kwargs | {"device": _CPU}), device=_SHELL)
        return func(*args, **kwargs)

    def _named(self, value: Any) -> Any:
        if isinstance(value, (str, torch.device)) and str(value) in (self.device.type, str(self.device)):
            return _SHELL
        return value

    def _attention(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        there = [x for x in tensors if isinstance(x, Elsewhere)]
        if not there:
            return func(*args, **kwargs)
        if len(there) < len(tensors):
            raise _mixed("scaled_dot_product_attention", tensors)
        inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
        return Elsewhere(func(*inner_args, **inner_kwargs), there[0].device)


@contextlib.contextmanager
def second_device(kind: str) -> Iterator[torch.device]:
    """Within, there is a device of the kind "cuda" or "mps", with index 0. For processes of their own."""
    device = torch.device(kind, 0)
    if not hasattr(torch, _SHELL.type):
        _setup_privateuseone_for_python_backend()
    with _Placing(device), _Named(device):
        yield device


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], device: torch.device | None) -> Any:
    """Run an operation on the inner tensors, and put what it makes where it belongs."""
    flat, spec = tree_flatten((args, dict(kwargs)))
    there = [value for value in flat if isinstance(value, Elsewhere)]
    device = there[0].device if there else device
    asked = kwargs.get("device")
    placed = there if asked is None else torch.device(asked).type == _SHELL.type
    if device is None or not (there or placed):
        return func(*args, **kwargs)
    if there:
        _refuse_mixing(func, args, kwargs, flat)
    if placed and (kwargs.get("generator") is not None or any(isinstance(v, torch.Generator) for v in flat)):
        raise RuntimeError(f"Expected a '{device.type}' device type for generator but found 'cpu'")
    inner_args, inner_kwargs = tree_unflatten([_inner(value) for value in flat], spec)
    if asked is not None and placed:
        inner_kwargs["device"] = _CPU
    result = func(*inner_args, **inner_kwargs)
    if torch.Tag.inplace_view in func.tags and there:
        with torch._C._DisableTorchDispatch():  # type: ignore[no-untyped-call]
            func(*args, **kwargs)  # the shell's own shape
    known = {id(_inner(value)): value for value in flat if isinstance(value, Tensor)}

    def outer(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in known:
            return Elsewhere(value, device) if placed else value
        same = known[id(value)]
        if same.shape != value.shape or same.stride() != value.stride():
            raise NotImplementedError(f"{func} gave a tensor of the second device another shape")
        return same

    return tree_map(outer, result)


def _refuse_mixing(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], flat: Sequence[Any]) -> None:
    """Raise RuntimeError where CUDA would."""
    tensors = [value for value in flat if isinstance(value, Tensor)]
    here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere)]
    name = func.overloadpacket.__name__
    if not here or name in _COPIES:
        return
    written = [
        args[i] if i < len(args) else kwargs.get(argument.name)
        for i, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    if name in _INDEXED:
        fine = isinstance(args[0], Elsewhere)
        here = [
            value for value in args[2:3] if isinstance(value, Tensor) and not isinstance(value, Elsewhere)
        ]
    else:
        fine = torch.Tag.pointwise in func.tags or name in _TAKE_NUMBERS
    numbers = all(tensor.dim() == 0 and tensor.device.type == "cpu" for tensor in here)
    into = all(isinstance(x, Elsewhere) for x in tree_flatten(written)[0] if isinstance(x, Tensor))
    if not (fine and numbers and into):
        raise _mixed(str(func), tensors)


def _mixed(what: str, tensors: Sequence[Tensor]) -> RuntimeError:
    places = ", ".join(f"{tuple(tensor.shape)} on {tensor.device}" for tensor in tensors)
    return RuntimeError(f"Expected all tensors of {what} to be on the same device: {places}")


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Elsewhere) else value
