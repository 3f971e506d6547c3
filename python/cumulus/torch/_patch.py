"""Routes torch.cumsum and torch.cumprod to Cumulus, for code that cannot be changed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ._functions import ScanFunction, cumprod, cumsum
from ._ops import needs_derivative

_DTYPES = frozenset(
    {
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.uint8,
        torch.bool,
        torch.complex64,
        torch.complex128,
    }
)
# What is replaced: (owner, attribute) and what stood there before.
_originals: dict[tuple[Any, str], Callable[..., Any]] = {}


def _supported(input: Any, dim: Any = None, dtype: Any = None, out: Any = None, **other: Any) -> bool:
    """Whether Cumulus does this call as torch would; whatever else there is in a call, torch sees to it."""
    return (
        not other
        and type(input) in (Tensor, torch.nn.Parameter)
        and isinstance(dim, int)
        and (input.is_cpu or input.is_cuda)
        and input.layout is torch.strided
        and input.dtype in _DTYPES
        and (dtype is None or (dtype in _DTYPES and dtype != torch.bool))
        and (out is None or (type(out) is Tensor and out.dtype in _DTYPES and out.dtype != torch.bool))
    )


def _routed(scan: ScanFunction, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        if len(args) <= 2 and _supported(*args, **kwargs):
            return scan(*args, **kwargs)
        return original(*args, **kwargs)

    return function


def _routed_in_place(scan: ScanFunction, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        # A recorded in-place call needs torch's book-keeping of versions and views.
        routed = len(args) <= 1 and "out" not in kwargs and kwargs.get("dtype") in (None, self.dtype)
        if routed and self.dtype != torch.bool and _supported(self, *args, **kwargs) and not needs_derivative(self):
            return scan(self, *args, **kwargs, out=self)
        return original(self, *args, **kwargs)

    return method


class _Patch:
    """What patch() returns: leaving it as a context undoes the patch, unless it stood before."""

    def __init__(self, *, undo: bool) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._undo:
            unpatch()


def patch() -> _Patch:
    """Route torch.cumsum, torch.cumprod, the methods of these names, and cumsum_ and cumprod_ to Cumulus.

    Call it as a function, or as a context manager to have it undone at the end: `with cumulus.torch.patch(): ...`. It is
    process-wide, and patching twice is patching once. Calls that Cumulus does not do as torch would fall through to torch:
    tensor subclasses, other devices, layouts and dtypes, unusual arguments, in-place calls that autograd records. References taken before
    (`from torch import cumsum`) keep torch's function. torch.cummax and torch.cummin are left alone: they return indices.
    """
    already = bool(_originals)
    if not already:
        for scan in (cumsum, cumprod):
            name = scan.__name__
            _replace(torch, name, _routed(scan, getattr(torch, name)))
            _replace(Tensor, name, _routed(scan, getattr(Tensor, name)))
            _replace(Tensor, name + "_", _routed_in_place(scan, getattr(Tensor, name + "_")))
    return _Patch(undo=not already)


def unpatch() -> None:
    """Undo patch(). Without a patch it does nothing."""
    while _originals:
        (owner, name), original = _originals.popitem()
        setattr(owner, name, original)


def _replace(owner: Any, name: str, function: Callable[..., Any]) -> None:
    _originals[owner, name] = getattr(owner, name)
    setattr(owner, name, function)
