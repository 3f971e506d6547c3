"""PyTorch's own samples (OpInfo) and checkers, run on cumulus.torch: tests nobody here wrote the data of.

What differs on purpose is in differences.py; nothing else is left out without a line that says why.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import cumulus.torch as ct
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_utils import CrossRefFakeMode
from torch.autograd import gradcheck, gradgradcheck
from torch.func import vmap
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_utils import set_default_dtype
from torch.testing._internal.composite_compliance import check_backward_formula, check_forward_ad_formula, check_with_mode
from torch.testing._internal.opinfo.core import OpInfo, SampleInput
from torch.testing._internal.optests import aot_autograd_check, fake_check, make_fx_check
from torch.utils._pytree import tree_map_only

FULL = os.environ.get("CUMULUS_FULL") == "1"
Count = Callable[[str], None]

OURS: dict[str, Callable[..., Any]] = {
    "cumsum": ct.cumsum,
    "cumprod": ct.cumprod,
    "masked.cumsum": ct.masked_cumsum,
    "masked.cumprod": ct.masked_cumprod,
    "cummax": ct.cummax,
    "cummin": ct.cummin,
}
OPS: dict[str, OpInfo] = {info.name: info for info in op_db if info.name in OURS and not info.variant_test_name}
NAMES = sorted(OPS)
# Every dtype of the OpInfo; bool is in cummax's and cummin's alone, and in differences.py.
DTYPES = [(name, dtype) for name in NAMES for dtype in sorted(OPS[name].dtypes, key=str) if dtype != torch.bool]
by_name = pytest.mark.parametrize("name", NAMES)
by_dtype = pytest.mark.parametrize(("name", "dtype"), DTYPES, ids=lambda v: str(v).removeprefix("torch."))
by_differentiable_dtype = pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n, d in DTYPES if d in (torch.float64, torch.complex128)], ids=lambda v: str(v).removeprefix("torch.")
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*ComplexHalf.*")
        yield


def torchs(name: str) -> Callable[..., Tensor]:
    if name in ("cummax", "cummin"):
        return lambda *args, **kwargs: OPS[name].op(*args, **kwargs).values
    return OPS[name].op  # type: ignore[no-any-return]


def samples(name: str, dtype: torch.dtype, requires_grad: bool = False) -> list[SampleInput]:
    found = list(OPS[name].sample_inputs("cpu", dtype, requires_grad=requires_grad))
    assert found, "an OpInfo without samples tests nothing"
    return found


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    """torch's own for its references of these ops: what differs is the order of rounding."""
    return {torch.float16: {"rtol": 2e-2, "atol": 2e-2}, torch.bfloat16: {"rtol": 6e-2, "atol": 6e-2}}.get(dtype, {})


@by_dtype
def test_values(name: str, dtype: torch.dtype, count: Count) -> None:
    for sample in samples(name, dtype):
        actual = OURS[name](sample.input, *sample.args, **sample.kwargs)
        expected = torchs(name)(sample.input, *sample.args, **sample.kwargs)
        torch.testing.assert_close(actual, expected, equal_nan=True, check_stride=True, **tolerance(dtype))
        count("values, dtype, strides: as torch's")


@by_name
def test_dtypes(name: str, count: Count) -> None:
    """What OpInfo says is not supported is refused, or in differences.py."""
    for dtype in (torch.complex32, torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64):
        x = torch.zeros(3, dtype=dtype)
        if dtype in OPS[name].dtypes:
            assert OURS[name](x, 0).dtype == dtype
        else:
            with pytest.raises((RuntimeError, ValueError, TypeError)):
                OURS[name](x, 0)
        count("dtypes")
    if name in ("cummax", "cummin"):
        with pytest.raises(RuntimeError, match="convert the input first"):
            OURS[name](torch.ones(3, dtype=torch.bool), 0)


@by_dtype
def test_noncontiguous(name: str, dtype: torch.dtype, count: Count) -> None:
    differentiable = dtype.is_floating_point or dtype.is_complex
    for sample in samples(name, dtype, requires_grad=differentiable):
        scattered = sample.noncontiguous()
        plain = OURS[name](sample.input, *sample.args, **sample.kwargs)
        actual = OURS[name](scattered.input, *scattered.args, **scattered.kwargs)
        torch.testing.assert_close(actual, plain, rtol=0, atol=0, equal_nan=True)
        if differentiable and plain.requires_grad:
            g = torch.randn_like(plain)
            expected = torch.autograd.grad(plain, sample.input, g)
            torch.testing.assert_close(torch.autograd.grad(actual, scattered.input, g), expected, rtol=0, atol=0, equal_nan=True)
        count("noncontiguous inputs: the same bits")


@by_dtype
def test_out(name: str, dtype: torch.dtype, count: Count) -> None:
    for sample in samples(name, dtype):

        def into(out: Tensor, sample: SampleInput = sample) -> Tensor:
            return OURS[name](sample.input, *sample.args, **sample.kwargs, out=out)  # type: ignore[no-any-return]

        expected = OURS[name](sample.input, *sample.args, **sample.kwargs)
        right = torch.full_like(expected, 7)
        address = right.data_ptr()
        assert into(right) is right and right.data_ptr() == address
        scattered = torch.full((*expected.shape, 2), 7, dtype=expected.dtype)[..., 0]
        strides = scattered.stride()
        assert into(scattered) is scattered and scattered.stride() == strides
        empty = torch.empty(0, dtype=expected.dtype)
        into(empty)
        for out in (right, scattered, empty):
            torch.testing.assert_close(out, expected, rtol=0, atol=0, equal_nan=True)
        if expected.numel() > 0:
            wrong = torch.ones((*expected.shape, 1), dtype=expected.dtype)
            with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
                into(wrong)
            torch.testing.assert_close(wrong, expected, rtol=0, atol=0, equal_nan=True)
        with pytest.raises(RuntimeError):
            into(torch.empty_like(expected, device="meta"))
        if expected.is_floating_point() or expected.is_complex():
            with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
                into(torch.empty_like(expected).requires_grad_())
        count("out=")


@by_dtype
def test_in_place_and_methods(name: str, dtype: torch.dtype, count: Count) -> None:
    method, in_place = OPS[name].method_variant, OPS[name].inplace_variant
    if in_place is None:
        return  # torch.masked, cummax and cummin have no such variant
    for sample in samples(name, dtype):
        with ct.patch():
            as_method = getattr(Tensor, name)(sample.input, *sample.args, **sample.kwargs)
            torch.testing.assert_close(as_method, method(sample.input, *sample.args, **sample.kwargs), equal_nan=True, **tolerance(dtype))
            if sample.kwargs.get("dtype", dtype) == dtype:
                own = sample.input.clone()
                assert getattr(own, name + "_")(*sample.args, **sample.kwargs) is own
                expected = in_place(sample.input.clone(), *sample.args, **sample.kwargs)
                torch.testing.assert_close(own, expected, equal_nan=True, **tolerance(dtype))
        count("methods and in-place methods, patched")


@by_differentiable_dtype
def test_gradients(name: str, dtype: torch.dtype, count: Count) -> None:
    info = OPS[name]
    for sample in samples(name, dtype, requires_grad=True):

        def f(x: Tensor, sample: SampleInput = sample) -> Tensor:
            y = OURS[name](x, *sample.args, **sample.kwargs)
            return y if sample.output_process_fn_grad is None else sample.output_process_fn_grad(y)  # type: ignore[no-any-return]

        fast = not FULL
        assert gradcheck(f, sample.input, check_forward_ad=info.supports_forward_ad, check_batched_grad=not fast, fast_mode=fast)
        assert gradgradcheck(
            f, sample.input, check_fwd_over_rev=info.supports_fwgrad_bwgrad, fast_mode=fast, gen_non_contig_grad_outputs=True
        )
        count("gradients: first and second order, forward mode, forward over reverse")
        if info.inplace_variant is not None and sample.kwargs.get("dtype", dtype) == dtype:
            with ct.patch():
                in_place = lambda x, s=sample: getattr(x.clone(), name + "_")(*s.args, **s.kwargs)  # noqa: E731
                assert gradcheck(in_place, sample.input, check_forward_ad=True, fast_mode=fast)
            count("gradients of in-place methods, patched")


@by_differentiable_dtype
def test_gradients_as_torchs(name: str, dtype: torch.dtype, count: Count) -> None:
    for sample in samples(name, dtype, requires_grad=True):
        grads = []
        for f in (OURS[name], torchs(name)):
            y = f(sample.input, *sample.args, **sample.kwargs)
            g = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
            grads.append(torch.autograd.grad(y, sample.input, g)[0])
        torch.testing.assert_close(*grads)
        count("gradients: as torch's")


@by_differentiable_dtype
def test_vmap(name: str, dtype: torch.dtype, count: Count) -> None:
    """Every combination of batched and plain tensor arguments, every place of the batch, against a loop."""
    for sample in samples(name, dtype):
        mask = sample.kwargs.get("mask")
        kwargs = {k: v for k, v in sample.kwargs.items() if k != "mask"}

        def f(x: Tensor, m: Tensor | None, args: Any = sample.args, kwargs: Any = kwargs, masked: bool = mask is not None) -> Tensor:
            return OURS[name](x, *args, **kwargs, **({"mask": m} if masked else {}))  # type: ignore[no-any-return]

        def places(t: Tensor | None) -> list[int | None]:
            return [None] if t is None else [None, *range(t.dim() + 1)]

        for x_at, m_at in product(places(sample.input), places(mask)):
            if x_at is None and m_at is None:
                continue
            x = sample.input if x_at is None else torch.stack([sample.input, sample.input * 2, -sample.input], x_at)
            m = mask if m_at is None or mask is None else torch.stack([mask, ~mask, mask], m_at)
            pick = lambda t, at, i: t if at is None or t is None else t.select(at, i)  # noqa: E731
            expected = torch.stack([f(pick(x, x_at, i), pick(m, m_at, i)) for i in range(3)])
            torch.testing.assert_close(vmap(f, in_dims=(x_at, m_at))(x, m), expected, rtol=0, atol=0, equal_nan=True)
            out_last = vmap(f, in_dims=(x_at, m_at), out_dims=-1)(x, m)
            torch.testing.assert_close(out_last, expected.movedim(0, -1), rtol=0, atol=0, equal_nan=True)
            count("vmap against a loop")


@by_dtype
def test_fake_tensors(name: str, dtype: torch.dtype, count: Count) -> None:
    for sample in samples(name, dtype):
        f = lambda *args, **kwargs: OURS[name](*args, **kwargs)  # noqa: E731
        fake_check(f, (sample.input, *sample.args), sample.kwargs)
        with CrossRefFakeMode(check_strides=True):
            OURS[name](sample.input, *sample.args, **sample.kwargs)
        real = OURS[name](sample.input, *sample.args, **sample.kwargs)
        args, kwargs = tree_map_only(Tensor, lambda t: t.to("meta"), ((sample.input, *sample.args), sample.kwargs))
        meta = OURS[name](*args, **kwargs)
        assert (meta.shape, meta.dtype, meta.stride()) == (real.shape, real.dtype, real.stride())
        count("fake and meta tensors")


@by_differentiable_dtype
def test_tracing(name: str, dtype: torch.dtype, count: Count) -> None:
    for sample in samples(name, dtype, requires_grad=True):
        f = lambda *args, **kwargs: OURS[name](*args, **kwargs)  # noqa: E731
        args = (sample.input, *sample.args)
        for mode in ("real", "fake", "symbolic") if FULL else ("symbolic",):
            make_fx_check(f, tree_map_only(Tensor, Tensor.detach, args), sample.kwargs, mode)
            count(f"make_fx, {mode}")
        for dynamic in (False, True):
            aot_autograd_check(f, args, sample.kwargs, dynamic=dynamic)
            count("AOT autograd: outputs and gradients")


@by_differentiable_dtype
def test_compile(name: str, dtype: torch.dtype, count: Count) -> None:
    """torch.compile without a break, with gradients, against eager."""
    for dynamic in (False, True):
        for sample in samples(name, dtype, requires_grad=True):
            torch._dynamo.reset()

            def f(x: Tensor, sample: SampleInput = sample) -> Tensor:
                return OURS[name](x * 2, *sample.args, **sample.kwargs)  # type: ignore[no-any-return]

            y = f(sample.input)
            compiled = torch.compile(f, fullgraph=True, backend="aot_eager", dynamic=dynamic)(sample.input)
            torch.testing.assert_close(compiled, y, rtol=0, atol=0, equal_nan=True)
            g = torch.ones_like(y)
            expected = torch.autograd.grad(y, sample.input, g)
            torch.testing.assert_close(torch.autograd.grad(compiled, sample.input, g), expected, equal_nan=True)
            count("torch.compile(fullgraph=True), with gradients")
            if not FULL and dynamic:
                break  # one dynamic sample of each; all of them under CUMULUS_FULL


@by_differentiable_dtype
def test_subclass_compliance(name: str, dtype: torch.dtype, count: Count) -> None:
    """Wrapper subclasses and modes see every operator, in forward, backward and forward mode."""
    if dtype.is_complex:
        return  # the checker's subclass knows no complex views
    for sample in samples(name, dtype, requires_grad=True):
        args = (sample.input, *sample.args)
        check_with_mode(OURS[name], args, sample.kwargs, torch.testing.assert_close)
        check_backward_formula(OURS[name], args, sample.kwargs, sample.output_process_fn_grad, None, torch.testing.assert_close)
        check_forward_ad_formula(OURS[name], args, sample.kwargs, None, torch.testing.assert_close)
        count("tensor subclasses and modes: forward, backward, forward mode")


@pytest.mark.parametrize("name", [n for n in NAMES if torch.complex128 in OPS[n].dtypes])
def test_conjugate_views(name: str, count: Count) -> None:
    for sample in samples(name, torch.complex128, requires_grad=True):
        x = sample.input.detach().conj().requires_grad_()
        resolved = sample.input.detach().conj().resolve_conj().requires_grad_()
        assert x.is_conj()
        results = [OURS[name](t, *sample.args, **sample.kwargs) for t in (x, resolved)]
        torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)
        g = torch.randn_like(results[0])
        torch.testing.assert_close(
            torch.autograd.grad(results[0], x, g)[0], torch.autograd.grad(results[1], resolved, g)[0], equal_nan=True
        )
        count("conjugate views")


@by_name
def test_error_inputs(name: str, count: Count) -> None:
    if OPS[name].error_inputs_func is None:
        # These OpInfos list no error inputs: torch's errors for a wrong dim and a wrong type, asked of torch itself, stand in.
        for args in ((torch.ones(3), 1), (torch.ones(3, 4), -3), (torch.tensor(1.0), 1), ("x", 0)):
            with pytest.raises(Exception) as expected:  # noqa: PT011
                torchs(name)(*args)
            with pytest.raises((type(expected.value), AttributeError)):
                OURS[name](*args)
            count("error inputs")
        return
    for error in OPS[name].error_inputs("cpu"):
        with pytest.raises(error.error_type):
            OURS[name](error.sample_input.input, *error.sample_input.args, **error.sample_input.kwargs)
        count("error inputs")


def test_the_default_dtype_does_not_matter() -> None:
    with set_default_dtype(torch.float64):
        assert ct.cumsum(torch.ones(3, dtype=torch.float32), 0, initial=0.5).dtype == torch.float32
