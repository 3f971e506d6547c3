"""The operators' Python half: shapes of fake tensors, derivatives, vmap and autocast.

The implementation is C++ (python/src/torch.cpp). Two operators share it: `cumulus::scan`, which has a derivative, and
`cumulus::_scan`, for calls that need none: a Python kernel for the derivative costs ten times a short scan.

Derivatives. Write y_0 = initial, y_{k+1} for the state after element k, and the step's linearisation as
dy_{k+1} = A_k dy_k + B_k dx_k. Every op has such a step:

    sum         A = 1        B = 1
    prod        A = x_k      B = y_k              no division: exact with zeros
    max, min    A = 1 - m_k  B = m_k              m_k: element k is the new extremum (the last one of ties, as in torch.cummax)
    recurrence  A = a_k      B = 1 for b_k, y_k for a_k

Forward mode is the recurrence with A and B dx. Reverse mode is one recurrence E_k = g_{k+1} + conj(A_{k+1}) E_{k+1} against the
scan's direction, g_k being the gradient of y_k; then the gradient of x_k is conj(B_k) E_k. Nothing is flipped, nothing waits for the
device. Both are made of scans, hence differentiable again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode

from ._library import load

load()

# Numbers of cumulus.h.
SUM: Final = 0
PROD: Final = 1
MAX: Final = 2
MIN: Final = 3
RECURRENCE: Final = 4
INCLUSIVE: Final = 0
EXCLUSIVE: Final = 1
PREFIXES: Final = 2

differentiable = torch.ops.cumulus.scan.default
into = torch.ops.cumulus.scan_out.default
_scan = torch.ops.cumulus._scan.default
# What an OpOverload calls, without its Python frame. torch.compile cannot trace it: needs_derivative keeps it away.
plain = _scan._op

_library = torch.library.Library("cumulus", "IMPL")  # type: ignore[no-untyped-call]


def needs_derivative(*tensors: Tensor | None) -> bool:
    """Whether a call with these tensors must go through `differentiable`: for autograd, forward mode, or a graph that is being traced."""
    if forward_ad._current_level >= 0 or torch.compiler.is_compiling():
        return True
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def scan(
    input: Tensor,
    dim: int,
    op: int,
    kind: int = INCLUSIVE,
    reverse: bool = False,
    dtype: torch.dtype | None = None,
    input2: Tensor | None = None,
    mask: Tensor | None = None,
    initial: Tensor | None = None,
) -> Tensor:
    """One scan by the cheaper of the two operators. `initial` is 0-d on the CPU, or of input's shape with size 1 along dim."""
    arguments = (input, dim, op, kind, reverse, dtype, input2, mask, initial)
    result: Tensor = differentiable(*arguments) if needs_derivative(input, input2, mask, initial) else plain(*arguments)
    return result


def wrap_dim(dim: int, rank: int) -> int:
    """`dim` counted from the front. Raises IndexError, in torch's words, when there is no such dimension."""
    rank = max(rank, 1)
    if not -rank <= dim < rank:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})")
    return dim % rank


def result_dtype(input: torch.dtype, op: int, dtype: torch.dtype | None) -> torch.dtype:
    """torch's rule: integers and bool give int64, unless `dtype` says otherwise; cummax and cummin keep every dtype."""
    if dtype is not None:
        return dtype
    return input if input.is_floating_point or input.is_complex or op in (MAX, MIN) else torch.int64


def _fake_scan(
    input: Tensor,
    dim: int,
    op: int = SUM,
    kind: int = INCLUSIVE,
    reverse: bool = False,
    dtype: torch.dtype | None = None,
    input2: Tensor | None = None,
    mask: Tensor | None = None,
    initial: Tensor | None = None,
) -> Tensor:
    dim = wrap_dim(dim, input.dim())
    result = result_dtype(input.dtype, op, dtype)
    if op in (MAX, MIN) and (result.is_complex or result == torch.bool):
        raise RuntimeError(f"cumulus: {result} has no maximum or minimum: convert the input first")
    shape = list(input.shape)
    if kind == PREFIXES:
        shape = shape or [1]
        shape[dim] = shape[dim] + 1
    return input.new_empty(shape, dtype=result)


def _fake_scan_out(*args: Any, **kwargs: Any) -> None:
    """Writes into an existing tensor: there is no shape to find."""


class _Linearisation:
    """A and B of a scan at its inputs. Tensors have at least one dimension; `input` is None where neither A nor B depends on it."""

    def __init__(
        self,
        dim: int,
        op: int,
        kind: int,
        reverse: bool,
        dtype: torch.dtype,
        length: int,
        input: Tensor | None,
        input2: Tensor | None,
        mask: Tensor | None,
        initial: Tensor | None,
        output: Tensor | None,
    ) -> None:
        self.dim, self.op, self.kind, self.reverse, self.dtype, self.length = dim, op, kind, reverse, dtype, length
        self.input = None if input is None else input.to(dtype)
        self.input2 = None if input2 is None else input2.to(dtype)
        self.selects = mask if mask is not None and mask.dtype == torch.bool else None
        self.weights = mask.to(dtype) if mask is not None and mask.dtype != torch.bool else None
        self.initial = initial
        self.output = output

    def _part(self, t: Tensor, start: int, length: int) -> Tensor:
        """A view of `length` elements along dim, `start` counted from where the scan begins."""
        return t.narrow(self.dim, t.size(self.dim) - start - length if self.reverse else start, length)

    @functools.cached_property
    def _elements(self) -> Tensor:
        assert self.input is not None
        return self.input if self.weights is None else self.input * self.weights

    @functools.cached_property
    def _won(self) -> Tensor:
        """max and min: whether an element is the new extremum."""
        x = self._elements
        won = (x == self._states(1)) | x.isnan()
        return won if self.selects is None else won & self.selects

    @functools.cached_property
    def decay(self) -> Tensor | None:
        """A; None stands for 1."""
        if self.op == SUM:
            return None
        if self.op in (MAX, MIN):
            return (~self._won).to(self.dtype)
        return self._elements if self.selects is None else torch.where(self.selects, self._elements, 1)

    @functools.cached_property
    def gain(self) -> Tensor | None:
        """B with respect to `input`, masks apart; None stands for 1."""
        if self.op == SUM:
            return None
        return self._won.to(self.dtype) if self.op in (MAX, MIN) else self._states(0)

    def _states(self, shift: int) -> Tensor:
        """The state before (0) or after (1) every element, from the output where it holds them."""
        kind = INCLUSIVE if shift else EXCLUSIVE
        if self.output is not None and self.kind == kind:
            return self.output
        if self.output is not None and self.kind == PREFIXES:
            return self._part(self.output, shift, self.length)
        assert self.input is not None
        mask = self.weights if self.selects is None else self.selects
        return scan(self.input, self.dim, self.op, kind, self.reverse, None, self.input2, mask, self.initial)

    @staticmethod
    def needs_output(op: int, kind: int) -> bool:
        """Whether _states takes what it needs from the output."""
        return op != SUM and kind != (EXCLUSIVE if op in (MAX, MIN) else INCLUSIVE)

    def backward(self, grad: Tensor, needed: Sequence[bool]) -> list[Tensor | None]:
        """Gradients of input, input2, a multiplying mask and initial (this one with size 1 along dim), those that are needed."""
        of_input, of_input2, of_mask, of_initial = needed
        adjoint = self._adjoint(grad)
        grads: list[Tensor | None] = [None] * 4
        if of_input or of_mask:
            gain = self.gain
            of_element = adjoint if gain is None else adjoint * gain.conj()
            if self.selects is not None:
                of_element = torch.where(self.selects, of_element, 0)
            grads[0] = of_element if self.weights is None else of_element * self.weights.conj()
            if of_mask and self.input is not None:
                grads[2] = of_element * self.input.conj()
        if of_input2:
            grads[1] = adjoint if self.selects is None else torch.where(self.selects, adjoint, 0)
        if of_initial:
            grads[3] = self._grad_of_initial(grad, adjoint)
        return grads

    def _adjoint(self, grad: Tensor) -> Tensor:
        """E: what each state y_{k+1} adds to the loss, its own output and all later ones together."""
        part, n, against = self._part, self.length, not self.reverse
        # In numbers of states, g has n + 1: an inclusive scan does not show the first, an exclusive one not the last.
        if self.decay is None:
            if self.kind == PREFIXES:
                return scan(part(grad, 1, n), self.dim, SUM, INCLUSIVE, against)
            return scan(grad, self.dim, SUM, self.kind, against)
        if n == 0:
            return torch.zeros_like(self.decay)
        last = torch.zeros_like(part(grad, 0, 1)) if self.kind == EXCLUSIVE else part(grad, grad.size(self.dim) - 1, 1)
        later = part(grad, 0 if self.kind == INCLUSIVE else 1, n - 1)
        return scan(part(self.decay, 1, n - 1).conj(), self.dim, RECURRENCE, PREFIXES, against, None, later, None, last)

    def _grad_of_initial(self, grad: Tensor, adjoint: Tensor) -> Tensor:
        """E_{-1}, one more step of the same recurrence."""
        if self.length == 0:
            return grad.sum(self.dim, keepdim=True)  # only `initial` itself can have been shown
        first = self._part(adjoint, 0, 1)
        if self.decay is not None:
            first = first * self._part(self.decay, 0, 1).conj()
        return first if self.kind == INCLUSIVE else first + self._part(grad, 0, 1)

    def forward(self, input: Tensor | None, input2: Tensor | None, weights: Tensor | None, initial: Tensor | None) -> Tensor:
        """The output's tangent, given those of the inputs; None stands for 0."""
        assert self.input is not None
        drive = torch.zeros_like(self.input) if input is None else input.to(self.dtype)
        if input is not None and self.weights is not None:
            drive = drive * self.weights
        if weights is not None:
            drive = drive + weights.to(drive.dtype) * self.input
        if self.gain is not None:
            drive = drive * self.gain
        if input2 is not None:
            drive = drive + input2.to(drive.dtype)
        if self.selects is not None:
            drive = torch.where(self.selects, drive, 0)
        if initial is not None:
            initial = initial.to(drive.dtype)
        if self.decay is None:
            return scan(drive, self.dim, SUM, self.kind, self.reverse, None, None, None, initial)
        return scan(self.decay, self.dim, RECURRENCE, self.kind, self.reverse, None, drive, None, initial)


def _reduced(grad: Tensor | None, form: Any, needed: bool) -> Tensor | None:
    """A gradient summed over what broadcast its tensor, in the tensor's dtype and on its device."""
    if grad is None or not needed:
        return None
    shape, dtype, device = form
    grad = grad.sum_to_size(shape)
    return (grad.real if grad.is_complex() and not dtype.is_complex else grad).to(device, dtype)


class _Scan(_SingleLevelFunction):
    """The derivative of `cumulus::scan` at one level of autograd: the dispatcher has already seen to torch.func's levels."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, dim: int, op: int, kind: int, reverse: bool, dtype: torch.dtype | None, *others: Tensor | None
    ) -> Tensor:
        # An outer level of torch.func records what happens below this one: apply() has turned recording off for all.
        with torch._C._AutoDispatchBelowAutograd(), torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
            output: Tensor = differentiable(input, dim, op, kind, reverse, dtype, *others)
        input2, mask, initial = others
        ctx.options = (dim, op, kind, reverse, output.dtype, input.size(dim))
        ctx.forms = [None if t is None else (t.shape, t.dtype, t.device) for t in (input, *others)]
        elements = input if op != SUM or (mask is not None and mask.dtype != torch.bool) else None
        recomputed = not _Linearisation.needs_output(op, kind)
        ctx.save_for_backward(elements, input2 if recomputed else None, mask, initial, None if recomputed else output)
        if forward_ad._current_level >= 0:
            ctx.save_for_forward(input, *others)
        if not (output.is_floating_point() or output.is_complex()):
            ctx.mark_non_differentiable(output)
        ctx.set_materialize_grads(False)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        if grad is None:
            return (None,) * 9
        needed = [ctx.needs_input_grad[i] for i in (0, 6, 7, 8)]
        grads = _Linearisation(*ctx.options, *ctx.saved_tensors).backward(grad, needed)
        of_input, of_input2, of_mask, of_initial = map(_reduced, grads, ctx.forms, needed)
        return of_input, None, None, None, None, None, of_input2, of_mask, of_initial

    @staticmethod
    def jvp(ctx: Any, input: Tensor | None, *tangents: Any) -> Tensor:
        # An outer level of torch.func records this too; torch has turned recording off, for this level would record its own tangent.
        primals = [None if t is None else forward_ad.unpack_dual(t).primal for t in ctx.saved_tensors]  # type: ignore[no-untyped-call]
        with forward_ad._set_fwd_grad_enabled(True):
            return _Linearisation(*ctx.options, *(*primals, None)).forward(input, *tangents[-3:])


def _apply(*args: Any) -> Tensor:
    apply: Callable[..., Tensor] = _Scan.apply  # type: ignore[attr-defined]
    if not torch._C._are_functorch_transforms_active():
        return apply(*args)
    with enable_single_level_autograd_function():
        return apply(*args)


def _autograd(
    input: Tensor,
    dim: int,
    op: int = SUM,
    kind: int = INCLUSIVE,
    reverse: bool = False,
    dtype: torch.dtype | None = None,
    input2: Tensor | None = None,
    mask: Tensor | None = None,
    initial: Tensor | None = None,
) -> Tensor:
    dim = wrap_dim(dim, input.dim())
    if input.dim() > 0:
        return _apply(input, dim, op, kind, reverse, dtype, input2, mask, initial)
    input2 = None if input2 is None else input2.unsqueeze(0)
    result = _apply(input.unsqueeze(0), 0, op, kind, reverse, dtype, input2, mask, initial)
    return result if kind == PREFIXES else result.squeeze(0)


def _vmap(
    info: Any,
    in_dims: tuple[int | None, ...],
    input: Tensor,
    dim: int,
    op: int = SUM,
    kind: int = INCLUSIVE,
    reverse: bool = False,
    dtype: torch.dtype | None = None,
    input2: Tensor | None = None,
    mask: Tensor | None = None,
    initial: Tensor | None = None,
) -> tuple[Tensor, int]:
    """The batch becomes the first dimension of every tensor, by strides alone."""
    batched = dict(zip(("input", "dim", "op", "kind", "reverse", "dtype", "input2", "mask", "initial"), in_dims, strict=False))
    rank = input.dim() - (batched["input"] is not None)
    dim = wrap_dim(dim, rank)

    def front(t: Tensor | None, name: str) -> Tensor | None:
        """[batch or 1, 1, ..., own dimensions]: `rank` dimensions, at least one, behind the batch."""
        if t is None:
            return None
        at = batched.get(name)
        t = t.unsqueeze(0) if at is None else t.movedim(at, 0)
        return t.reshape(t.shape[0], *(1,) * (max(rank, 1) + 1 - t.dim()), *t.shape[1:])

    rows = front(input, "input")
    rows2 = front(input2, "input2")
    assert rows is not None
    rows = rows.expand(info.batch_size, *rows.shape[1:])
    if rows2 is not None:
        rows2 = rows2.expand(rows.shape)
    if initial is not None and (initial.dim() > 0 or batched.get("initial") is not None):
        starts = front(initial, "initial")
        assert starts is not None
        initial = starts.expand(*rows.shape[: dim + 1], 1, *rows.shape[dim + 2 :])
    result = scan(rows, dim + 1, op, kind, reverse, dtype, rows2, front(mask, "mask"), initial)
    return (result.squeeze(1) if rank == 0 and kind != PREFIXES else result), 0


def _autocast(operator: Any) -> Any:
    """Autocast on CUDA as torch.cumsum's: half-precision input gives a float32 result unless dtype says otherwise."""
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)

    def kernel(
        input: Tensor,
        dim: int,
        op: int = SUM,
        kind: int = INCLUSIVE,
        reverse: bool = False,
        dtype: torch.dtype | None = None,
        *others: Tensor | None,
    ) -> Tensor:
        if dtype is None and input.dtype in (torch.float16, torch.bfloat16):
            dtype = torch.float32
        with torch._C._ExcludeDispatchKeyGuard(keys):
            result: Tensor = operator(input, dim, op, kind, reverse, dtype, *others)
        return result

    return kernel


def _trace_differentiable(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Tensor:
    """A traced graph may be differentiated later: it holds the operator that has a derivative."""
    with mode:
        result: Tensor = differentiable(*args, **(kwargs or {}))
    return result


def _register() -> None:
    for name in ("scan", "_scan"):
        torch.library.register_fake(f"cumulus::{name}", _fake_scan, lib=_library)
        torch.library.register_vmap(f"cumulus::{name}", _vmap, lib=_library)
        _library.impl(name, _autocast(getattr(torch.ops.cumulus, name).default), "AutocastCUDA")  # type: ignore[no-untyped-call]
    torch.library.register_fake("cumulus::scan_out", _fake_scan_out, lib=_library)
    _library.impl("scan", _autograd, "Autograd")  # type: ignore[no-untyped-call]
    # Without a kernel here torch looks at every argument of every call, to warn of a missing derivative.
    for name in ("_scan", "scan_out"):
        _library.impl(name, torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    torch.library.register_torch_dispatch("cumulus::_scan", ProxyTorchDispatchMode, _trace_differentiable, lib=_library)


_register()
