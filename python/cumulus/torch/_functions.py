"""The functions of cumulus.torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol, overload

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import _ops
from ._ops import EXCLUSIVE, INCLUSIVE, MAX, MIN, PREFIXES, PROD, RECURRENCE, SUM

Number = bool | int | float | complex

_OPTIONS: Final = """
    Arguments (as torch.cumsum's up to `out`):
        input: any shape and strides, on the CPU or a CUDA device; it is never copied to change its layout.
        dim: the dimension to scan along. A 0-d tensor has 0 and -1.
        dtype: of the result; input is converted before anything is combined. Default: int64 for integers and bool (not for
            cummax and cummin), else input's. float16 and bfloat16 accumulate in float32.
        out: a tensor for the result, of its dtype, resized if need be; it may be input itself. No gradients.
        exclusive: element i shows the scan of the elements before i.
        reverse: scan from the last element to the first.
        include_initial: the result is one longer along dim and begins (reverse: ends) with `initial`, as the Array API's.
        mask: bool selects: False elements take no part, whatever they hold. Any other dtype multiplies, types promoted as
            by torch.mul. It broadcasts to input's shape.
        initial: where the scan starts: a number, a 0-d tensor, or a tensor of input's shape without dim or with size 1
            there, broadcast by torch's rule.
        return_total: return (result, total); total is the scan of all elements, in the result's dtype, of input's shape
            without dim: the `initial` with which a next call goes on.

    Returns a C-contiguous tensor of input's shape; exclusive with return_total, a view of one element more.
    The bits depend on the sequence along dim alone (docs/order.md), so torch.use_deterministic_algorithms has nothing to refuse.
    Differentiable with respect to input, a multiplying mask and initial, in reverse and forward mode, any number of times.

    Raises IndexError for a dim that does not exist; TypeError for options that exclude each other; RuntimeError for shapes that do
    not fit, devices that differ, and dtypes without such a scan (complex has no order).
"""


class ScanFunction(Protocol):
    """The signature that the scans of one tensor share."""

    __name__: str

    @overload
    def __call__(
        self,
        input: Tensor,
        dim: int,
        *,
        dtype: torch.dtype | None = None,
        out: Tensor | None = None,
        exclusive: bool = False,
        reverse: bool = False,
        include_initial: bool = False,
        mask: Tensor | None = None,
        initial: Tensor | Number | None = None,
        return_total: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def __call__(
        self,
        input: Tensor,
        dim: int,
        *,
        dtype: torch.dtype | None = None,
        out: Tensor | None = None,
        exclusive: bool = False,
        reverse: bool = False,
        include_initial: bool = False,
        mask: Tensor | None = None,
        initial: Tensor | Number | None = None,
        return_total: Literal[True],
    ) -> tuple[Tensor, Tensor]: ...


def _scan_function(name: str, op: int, summary: str) -> ScanFunction:
    plain, is_compiling, is_grad_enabled = _ops.plain, torch.compiler.is_compiling, torch.is_grad_enabled

    def function(
        input: Tensor,
        dim: int,
        *,
        dtype: torch.dtype | None = None,
        out: Tensor | None = None,
        exclusive: bool = False,
        reverse: bool = False,
        include_initial: bool = False,
        mask: Tensor | None = None,
        initial: Tensor | Number | None = None,
        return_total: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        # The most frequent calls, and _ops.needs_derivative, written out: a function call costs as much as a scan of 64 elements.
        if mask is None and initial is None and out is None and not (exclusive or include_initial or return_total):
            traced = forward_ad._current_level >= 0 or is_compiling()
            if not (traced or (input.requires_grad and is_grad_enabled())):
                if dtype is None and not reverse:
                    return plain(input, dim, op)  # type: ignore[no-any-return]
                return plain(input, dim, op, INCLUSIVE, reverse, dtype)  # type: ignore[no-any-return]
        input, mask = _multiplied(input, mask)
        start = _start(name, input, dim, initial)
        return _run(name, op, input, None, dim, dtype, out, _kind(name, exclusive, include_initial), reverse, mask, start, return_total)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "cumulus.torch"
    function.__doc__ = summary + "\n" + _OPTIONS
    return function  # type: ignore[return-value]


def _kind(name: str, exclusive: bool, include_initial: bool) -> int:
    if exclusive and include_initial:
        raise TypeError(
            f"{name}: exclusive and include_initial exclude each other: the longer result holds the exclusive one; give one of them"
        )
    return EXCLUSIVE if exclusive else PREFIXES if include_initial else INCLUSIVE


def _multiplied(input: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Input and a multiplying mask in their common dtype."""
    if mask is None or mask.dtype == torch.bool or mask.dtype == input.dtype:
        return input, mask
    common = torch.promote_types(input.dtype, mask.dtype)
    return input.to(common), mask.to(common)


def _start(name: str, input: Tensor, dim: int, initial: Tensor | Number | None) -> Tensor | None:
    """`initial` as the operators take it: 0-d on the CPU, or of input's shape with size 1 along dim. Views only."""
    if initial is None:
        return None
    if not isinstance(initial, Tensor):
        exact = torch.complex128 if isinstance(initial, complex) else torch.float64 if isinstance(initial, float) else torch.int64
        return torch.full((), initial, dtype=exact, device="cpu")
    if initial.dim() == 0 and (initial.device.type == "cpu" or input.dim() == 0):
        return initial
    dim = _ops.wrap_dim(dim, input.dim())
    shape = (*input.shape[:dim], 1, *input.shape[dim + 1 :])
    rows = initial
    if initial.dim() == input.dim() - 1:
        rows = initial.unsqueeze(dim)
    try:
        return rows.expand(shape)
    except RuntimeError:
        raise RuntimeError(
            f"{name}: initial has shape {tuple(initial.shape)}, which does not broadcast to {shape}: input's shape {tuple(input.shape)} "
            f"with size 1 along dim {dim} (or without it)"
        ) from None


def _run(
    name: str,
    op: int,
    input: Tensor,
    input2: Tensor | None,
    dim: int,
    dtype: torch.dtype | None,
    out: Tensor | None,
    kind: int,
    reverse: bool,
    mask: Tensor | None,
    initial: Tensor | None,
    return_total: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    """The scan of checked arguments, into `out` or a new tensor, with or without its total."""
    if out is None:
        if return_total:
            return _with_total(op, input, input2, dim, dtype, kind, reverse, mask, initial)
        return _ops.scan(input, dim, op, kind, reverse, dtype, input2, mask, initial)
    _check_out(name, out, dtype, input, input2, mask, initial)
    if not torch.compiler.is_compiling() and (out.is_conj() or out.is_neg()):
        # Lazily negated memory is written through copy_: torch's fall-back expects an operator that returns what it wrote.
        result = _run(name, op, input, input2, dim, out.dtype, None, kind, reverse, mask, initial, return_total)
        if isinstance(result, tuple):
            return _resized(out, result[0].shape).copy_(result[0]), result[1]
        return _resized(out, result.shape).copy_(result)
    if return_total:
        # Before anything is written: out may be input.
        result, total = _with_total(op, input, input2, dim, out.dtype, kind, reverse, mask, initial)
        return _resized(out, result.shape).copy_(result), total
    shape = list(input.shape)
    if kind == PREFIXES:
        shape = shape or [1]
        shape[_ops.wrap_dim(dim, input.dim())] += 1
    _ops.into(input, dim, op, kind, reverse, None, input2, mask, initial, out=_resized(out, shape))
    return out


def _check_out(name: str, out: Tensor, dtype: torch.dtype | None, *inputs: Tensor | None) -> None:
    """torch's rules for out=, in torch's words."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (out, *inputs)):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad."
        )
    if dtype is not None and dtype != out.dtype:
        raise RuntimeError(f"Expected out tensor to have dtype {dtype}, but got {out.dtype} instead")
    device = next(t.device for t in inputs if t is not None)
    if out.device != device:
        raise RuntimeError(f"Expected out tensor to have device {device}, but got {out.device} instead")


def _resized(out: Tensor, shape: Sequence[int]) -> Tensor:
    if list(out.shape) != list(shape):
        if out.numel() > 0:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(out.shape)}, which does not match the required "
                f"output shape {list(shape)}. Give an empty tensor (out.resize_(0)) or one of that shape.",
                stacklevel=4,
            )
        out.resize_(shape)
    return out


def _with_total(
    op: int,
    input: Tensor,
    input2: Tensor | None,
    dim: int,
    dtype: torch.dtype | None,
    kind: int,
    reverse: bool,
    mask: Tensor | None,
    initial: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Result and total, both from one scan: the total is the last of the prefixes."""
    dim = _ops.wrap_dim(dim, input.dim())
    length = input.size(dim) if input.dim() > 0 else 1
    inclusive = kind == INCLUSIVE and length > 0
    states = _ops.scan(input, dim, op, INCLUSIVE if inclusive else PREFIXES, reverse, dtype, input2, mask, initial)
    if states.dim() == 0:
        return states, states.clone()
    total = states.select(dim, 0 if reverse else -1).clone()
    if inclusive or kind == PREFIXES:
        return states, total
    result = states.narrow(dim, 1 if reverse else 0, length)
    return (result if input.dim() > 0 else result.squeeze(0)), total


cumsum: Final = _scan_function("cumsum", SUM, "Cumulative sum along `dim`: torch.cumsum with more options.")
cumprod: Final = _scan_function(
    "cumprod", PROD, "Cumulative product along `dim`: torch.cumprod with more options. Gradients are exact with zeros: nothing is divided."
)
_EXTREMUM: Final = """Cumulative {0} along `dim`: the values that torch.cum{1} returns, without their indices.

    NaN sticks and -0 < +0 (IEEE 754-2019 {0}). Gradients go to the last one of equal elements, as torch's. The default
    dtype is input's, as torch's; bool and complex have none. Where nothing has been seen, the result shows `initial`, else the dtype's limit."""
cummax: Final = _scan_function("cummax", MAX, _EXTREMUM.format("maximum", "max"))
cummin: Final = _scan_function("cummin", MIN, _EXTREMUM.format("minimum", "min"))


def _masked_function(name: str, scan: ScanFunction, identity: str) -> ScanFunction:
    def function(
        input: Tensor, dim: int, *, dtype: torch.dtype | None = None, mask: Tensor | None = None, **options: Any
    ) -> Tensor | tuple[Tensor, Tensor]:
        if dtype is None:
            out = options.get("out")
            dtype = input.dtype if out is None else out.dtype
        result: Tensor | tuple[Tensor, Tensor] = scan(input, dim, dtype=dtype, mask=None if mask is None else mask.bool(), **options)
        return result

    function.__name__ = function.__qualname__ = name
    function.__module__ = "cumulus.torch"
    function.__doc__ = f"""torch.masked.{scan.__name__}, in one pass: False elements count as {identity}, whatever they hold.

    The mask always selects (a mask of another dtype is converted to bool), the result's dtype is input's also for integers, and
    results at False positions show the running value: all as torch.masked. Options and errors: as {scan.__name__}'s.
    """
    return function  # type: ignore[return-value]


masked_cumsum: Final = _masked_function("masked_cumsum", cumsum, "0")
masked_cumprod: Final = _masked_function("masked_cumprod", cumprod, "1")


@overload
def linear_recurrence(
    a: Tensor | Number,
    b: Tensor,
    dim: int,
    *,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
    exclusive: bool = False,
    reverse: bool = False,
    include_initial: bool = False,
    mask: Tensor | None = None,
    initial: Tensor | Number | None = None,
    return_total: Literal[False] = False,
) -> Tensor: ...


@overload
def linear_recurrence(
    a: Tensor | Number,
    b: Tensor,
    dim: int,
    *,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
    exclusive: bool = False,
    reverse: bool = False,
    include_initial: bool = False,
    mask: Tensor | None = None,
    initial: Tensor | Number | None = None,
    return_total: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def linear_recurrence(
    a: Tensor | Number,
    b: Tensor,
    dim: int,
    *,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
    exclusive: bool = False,
    reverse: bool = False,
    include_initial: bool = False,
    mask: Tensor | None = None,
    initial: Tensor | Number | None = None,
    return_total: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """h[i] = a[i] h[i-1] + b[i] along `dim`, h[-1] being `initial` or 0: first-order filters, decays, state-space models.

    a and b are broadcast against each other, without copies, and promoted to one dtype, by torch's rules; a may be a number.
    A mask must be bool: a False element leaves h as it is (a = 1, b = 0). Differentiable with respect to a, b and initial.
    The other options, the result and the errors: as cumsum's.
    """
    name = "linear_recurrence"
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(
            f"{name}: mask is {mask.dtype}, but a mask that multiplies has no meaning here: give a bool mask, or multiply a or b"
        )
    decay = a if isinstance(a, Tensor) else b.new_zeros(()) + a  # in the dtype that torch promotes the two to
    common = torch.promote_types(decay.dtype, b.dtype)
    decay, b = torch.broadcast_tensors(decay.to(common), b.to(common))  # type: ignore[no-untyped-call]
    start = _start(name, b, dim, initial)
    return _run(name, RECURRENCE, decay, b, dim, dtype, out, _kind(name, exclusive, include_initial), reverse, mask, start, return_total)
