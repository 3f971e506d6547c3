"""Derivatives: first and second order, forward mode, zeros, ties, masks, initial, complex, memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import cumulus.torch as ct
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

FULL = os.environ.get("CUMULUS_FULL") == "1"
KINDS: list[dict[str, bool]] = [{}, {"exclusive": True}, {"include_initial": True}]
FUNCTIONS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (ct.cumsum, ct.cumprod, ct.cummax, ct.cummin)}


def leaf(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def check(f: Callable[..., Any], *inputs: Any) -> None:
    """Against finite differences: gradients, batched gradients, forward mode, second order, forward over reverse."""
    batched = FULL
    assert gradcheck(f, inputs, check_forward_ad=True, check_batched_grad=batched, check_batched_forward_grad=batched)
    assert gradgradcheck(f, inputs, check_fwd_over_rev=True, check_batched_grad=batched)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("kind", KINDS, ids=["inclusive", "exclusive", "prefixes"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str, kind: dict[str, bool], reverse: bool) -> None:
    x, weights, start = leaf(2, 4), leaf(2, 4, seed=1), leaf(2, 1, seed=2)
    select = torch.tensor([[True, False, True, True], [False, True, True, False]])
    extremum = name in ("cummax", "cummin")
    for mask in (None, select, weights):
        # Where an extremum has seen nothing it is infinite, and finite differences of infinities are NaN.
        for initial in (start,) if extremum else (None, start):
            check(lambda x, m, c: FUNCTIONS[name](x, 1, reverse=reverse, mask=m, initial=c, **kind), x, mask, initial)
    check(lambda x, c: FUNCTIONS[name](x, 0, reverse=reverse, initial=c, **kind), x, leaf(4, seed=3))
    check(lambda x, c: FUNCTIONS[name](x, -1, reverse=reverse, initial=c, **kind), leaf(3), leaf(seed=3))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("kind", KINDS, ids=["inclusive", "exclusive", "prefixes"])
def test_gradients_of_the_recurrence(kind: dict[str, bool], reverse: bool) -> None:
    a, b, start = leaf(2, 4), leaf(2, 4, seed=1), leaf(2, 1, seed=2)
    select = torch.tensor([[True, False, True, True], [False, True, True, False]])
    for mask in (None, select):
        for initial in (None, start):
            check(lambda a, b, m, c: ct.linear_recurrence(a, b, 1, reverse=reverse, mask=m, initial=c, **kind), a, b, mask, initial)
    check(lambda a, b: ct.linear_recurrence(a, b, 1, reverse=reverse, **kind), leaf(4), b)
    check(lambda b: ct.linear_recurrence(0.5, b, 1, reverse=reverse, **kind), b)


@pytest.mark.parametrize("kind", KINDS, ids=["inclusive", "exclusive", "prefixes"])
def test_gradients_of_complex_scans(kind: dict[str, bool]) -> None:
    x, y, start = (
        leaf(2, 4, dtype=torch.complex128),
        leaf(2, 4, dtype=torch.complex128, seed=1),
        leaf(2, 1, dtype=torch.complex128, seed=2),
    )
    for f in (ct.cumsum, ct.cumprod):
        check(lambda x, m, c, f=f: f(x, 1, mask=m, initial=c, **kind), x, y, start)
    check(lambda a, b, c: ct.linear_recurrence(a, b, 1, initial=c, **kind), x, y, start)
    real = leaf(3)
    assert gradcheck(lambda x: ct.cumprod(x, 0, dtype=torch.complex128), real)


@pytest.mark.parametrize("zeros", [[], [0], [2], [4], [1, 3], [0, 4], [0, 1, 2, 3, 4]], ids=str)
def test_cumprod_is_exact_with_zeros(zeros: list[int]) -> None:
    x = leaf(5).detach()
    x[zeros] = 0
    x.requires_grad_()
    for kind in KINDS:
        for reverse in (False, True):
            check(lambda x, kind=kind, reverse=reverse: ct.cumprod(x, 0, reverse=reverse, **kind), x)
    (ours,) = torch.autograd.grad(ct.cumprod(x, 0).sum(), x)
    (torchs,) = torch.autograd.grad(torch.cumprod(x, 0).sum(), x)
    torch.testing.assert_close(ours, torchs)


@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_ties_as_torch(name: str) -> None:
    x = torch.tensor(
        [[1.0, 1, 2, 2, 0, 2, 3, 3], [5, 4, 4, 4, -1, -1, 7, -1], [-0.0, 0.0, 0.0, -0.0, 1, 1, torch.nan, 2]], dtype=torch.float64
    )
    weights = torch.arange(1.0, 25, dtype=torch.float64).view(3, 8)
    grads = []
    for f in (FUNCTIONS[name], lambda t, dim: getattr(torch, name)(t, dim).values):
        t = x.clone().requires_grad_()
        grads.append(torch.autograd.grad(f(t, 1), t, weights)[0])
    torch.testing.assert_close(*grads)


def test_third_order() -> None:
    x = leaf(4)
    for f, torchs in ((ct.cumprod, torch.cumprod), (ct.cumsum, torch.cumsum)):
        values = []
        for scan in (f, torchs):
            y = scan(x, 0).pow(3).sum()
            for _ in range(3):
                (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            values.append(y)
        torch.testing.assert_close(*values)


def test_forward_mode_alone() -> None:
    x, t = leaf(4).detach(), leaf(4, seed=1).detach()
    for name in ("cumsum", "cumprod"):
        tangents = []
        for f in (getattr(ct, name), getattr(torch, name)):
            with forward_ad.dual_level():
                tangents.append(forward_ad.unpack_dual(f(forward_ad.make_dual(x, t), 0)).tangent)
        torch.testing.assert_close(*tangents)


def test_dtypes_and_devices_of_gradients() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        x = torch.rand(3, 8, dtype=dtype, requires_grad=True)
        for f in (ct.cumsum, ct.cumprod, ct.cummax):
            y = f(x, 1, dtype=torch.float64)
            (grad,) = torch.autograd.grad(y.sum(), x)
            assert y.dtype == torch.float64 and grad.dtype == dtype and grad.shape == x.shape
    y = ct.cumsum(x, 1, dtype=torch.int64)
    assert not y.requires_grad
    weights = torch.rand(8, dtype=torch.float64, requires_grad=True)
    ct.cumsum(x, 1, mask=weights, initial=torch.tensor(1.0, requires_grad=True)).sum().backward()
    assert weights.grad is not None and weights.grad.shape == (8,) and weights.grad.dtype == torch.float64


def test_totals_have_gradients() -> None:
    for kind in KINDS:
        for f in FUNCTIONS.values():
            check(lambda x, c, f=f, kind=kind: f(x, 1, initial=c, return_total=True, **kind), leaf(2, 4), leaf(2, 1, seed=2))
        check(
            lambda a, b, c, kind=kind: ct.linear_recurrence(a, b, 1, initial=c, return_total=True, **kind),
            leaf(2, 4),
            leaf(2, 4, seed=1),
            leaf(2, 1),
        )


def test_without_elements() -> None:
    for f in FUNCTIONS.values():
        x, c = leaf(2, 0), leaf(2, 1)
        y = f(x, 1, initial=c, include_initial=True)
        grads = torch.autograd.grad((y * 3).sum(), (x, c))
        assert grads[0].shape == (2, 0) and torch.equal(grads[1], torch.full((2, 1), 3.0, dtype=torch.float64))


class _Calls(TorchDispatchMode):
    """Records the operators that a piece of code runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operators_of(run: Callable[[], Any]) -> list[str]:
    with _Calls() as calls:
        run()
    return calls.names


def test_the_gradient_of_a_sum_is_one_scan() -> None:
    x = torch.rand(4, 6, requires_grad=True)
    g = torch.rand(4, 6)
    for kind in ({}, {"exclusive": True}):
        for reverse in (False, True):
            y = ct.cumsum(x, 1, reverse=reverse, **kind)
            names = operators_of(lambda y=y: torch.autograd.grad(y, x, g))
            assert [n for n in names if "cumulus" in n] == ["cumulus._scan.default"]
            assert not [n for n in names if "flip" in n or "clone" in n or "copy" in n or "cat" in n or "item" in n], names


def test_the_gradient_of_a_product_is_two_scans() -> None:
    x = torch.rand(4, 6, requires_grad=True)
    for kind, scans in (({}, 2), ({"exclusive": True}, 1)):
        y = ct.cumprod(x, 1, **kind)
        names = operators_of(lambda y=y: torch.autograd.grad(y.sum(), x))
        assert sum("cumulus" in n for n in names) == scans, names
        assert not [n for n in names if "flip" in n or "cat" in n or "item" in n or "nonzero" in n or "div" in n], names


def test_a_sum_keeps_no_tensor_for_its_gradient() -> None:
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        ct.cumsum(torch.rand(4, 6, requires_grad=True), 1)
    assert kept == []


def test_no_derivative_costs_no_python_kernel() -> None:
    x = torch.rand(8)
    assert operators_of(lambda: ct.cumsum(x, 0)) == ["cumulus._scan.default"]
    with torch.no_grad():
        assert operators_of(lambda: ct.cumsum(x.requires_grad_(), 0)) == ["cumulus._scan.default"]
    assert not ct.cumsum(x.detach(), 0).requires_grad
    assert ct.cumsum(x, 0).requires_grad
