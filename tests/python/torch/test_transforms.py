"""torch.func, fake and meta tensors, torch.compile, torch.export, make_fx, opcheck, autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cumulus.torch as ct
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

KINDS: list[dict[str, bool]] = [{}, {"exclusive": True}, {"include_initial": True}]
FUNCTIONS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (ct.cumsum, ct.cumprod, ct.cummax, ct.cummin)}


def data(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def stacked(f: Callable[..., Tensor], *arguments: tuple[Tensor, int | None]) -> Tensor:
    """vmap as a loop."""
    size = next(t.size(d) for t, d in arguments if d is not None)
    return torch.stack([f(*(t if d is None else t.select(d, i) for t, d in arguments)) for i in range(size)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap(name: str) -> None:
    f = FUNCTIONS[name]
    x, mask, weights = data(3, 4, 5), data(3, 4, 5, seed=1) > 0, data(3, 4, 5, seed=2)
    for at in (0, 1, 2, -1):
        for dim in (0, 1, -1):
            for kind in KINDS:
                one = functools.partial(f, dim=dim, reverse=True, **kind)
                torch.testing.assert_close(vmap(one, in_dims=at)(x), stacked(one, (x, at)))
                for m in (mask, weights):
                    masked = lambda t, m, one=one: one(t, mask=m)  # noqa: E731
                    for dims in ((at, at), (at, None), (None, at)):
                        t = x if dims[0] is not None else x.select(at, 0)
                        weight = m if dims[1] is not None else m.select(at, 0)
                        torch.testing.assert_close(vmap(masked, in_dims=dims)(t, weight), stacked(masked, (t, dims[0]), (weight, dims[1])))
    starts = data(6)
    for t, dims in ((data(6, 4), (0, 0)), (data(4), (None, 0))):
        started = lambda t, c: f(t, 0, initial=c, include_initial=True)  # noqa: E731
        torch.testing.assert_close(vmap(started, in_dims=dims)(t, starts), stacked(started, (t, dims[0]), (starts, dims[1])))
    scalars = lambda t: f(t, 0)  # noqa: E731
    torch.testing.assert_close(vmap(scalars)(starts), stacked(scalars, (starts, 0)))
    longer = lambda t: f(t, -1, include_initial=True)  # noqa: E731
    torch.testing.assert_close(vmap(longer)(starts), stacked(longer, (starts, 0)))
    torch.testing.assert_close(vmap(vmap(scalars))(data(3, 4, 5)), f(data(3, 4, 5), 2))


def test_vmap_of_the_recurrence() -> None:
    a, b = data(3, 4), data(3, 4, seed=1)
    f = lambda a, b: ct.linear_recurrence(a, b, 0)  # noqa: E731
    for x, y, dims in ((a, b, (0, 0)), (a, b, (1, 1)), (a[0], b, (None, 0)), (a, b[0], (0, None)), (a[:, 0], b, (0, 0))):
        torch.testing.assert_close(vmap(f, in_dims=dims)(x, y), stacked(f, (x, dims[0]), (y, dims[1])))


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_func_as_torch(name: str) -> None:
    x, t = data(3, 5), data(3, 5, seed=1)
    ours, torchs = (lambda x, f=f: f(x, 0).sin().sum() for f in (lambda x, d: getattr(ct, name)(x, d), getattr(torch, name)))
    checks: list[Callable[[Callable[[Tensor], Tensor]], Any]] = [
        lambda f: grad(f)(x),
        lambda f: grad(grad(lambda r: f(r)))(x[:, 0][0]),
        lambda f: vmap(grad(f))(x),
        lambda f: grad(lambda x: vmap(f)(x).sum())(x),
        lambda f: jvp(f, (x,), (t,))[1],
        lambda f: vmap(lambda x, t: jvp(f, (x,), (t,))[1])(x, t),
        lambda f: jvp(grad(f), (x,), (t,))[1],
        lambda f: vjp(f, x)[1](torch.tensor(2.0, dtype=torch.float64))[0],
        lambda f: jacrev(grad(f))(x),
        lambda f: jacfwd(grad(f))(x),
        lambda f: jacfwd(jacfwd(f))(x),
        lambda f: torch.func.hessian(f)(x[:, 0]),
        lambda f: vmap(torch.func.hessian(f))(x),
    ]
    for check in checks:
        torch.testing.assert_close(check(ours), check(torchs))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_fake_and_meta(name: str) -> None:
    f = FUNCTIONS[name]
    for dtype in (torch.float32, torch.bfloat16, torch.int32, *([torch.bool] if name in ("cumsum", "cumprod") else [])):
        for shape, dim in (((3, 4), 1), ((3, 4), 0), ((), 0), ((0, 2), 0)):
            for kind in KINDS:
                real = f(torch.ones(shape, dtype=dtype), dim, **kind)
                meta = f(torch.ones(shape, dtype=dtype, device="meta"), dim, **kind)
                assert (meta.shape, meta.dtype, meta.stride(), meta.device.type) == (real.shape, real.dtype, real.stride(), "meta")
                with FakeTensorMode():
                    fake = f(torch.ones(shape, dtype=dtype), dim, **kind)
                assert (fake.shape, fake.dtype, fake.stride()) == (real.shape, real.dtype, real.stride())
    with FakeTensorMode(), pytest.raises(IndexError, match="Dimension out of range"):
        f(torch.ones(3), 1)


class Everything(torch.nn.Module):
    """One of each option."""

    def forward(self, x: Tensor, mask: Tensor, start: Tensor) -> tuple[Tensor, ...]:
        total, carry = ct.cumsum(x, 1, mask=mask, initial=start, return_total=True)
        last, end = ct.cumprod(x, 1, exclusive=True, return_total=True)
        return (
            total,
            carry,
            last,
            end,
            ct.cumsum(x, 0, reverse=True, exclusive=True),
            ct.cumsum(x, 0, include_initial=True, dtype=torch.float64, initial=2),
            ct.cummax(x, -1),
            ct.cummin(x, -1, initial=0.5),
            ct.masked_cumprod(x, 1, mask=mask),
            ct.linear_recurrence(0.5, x, 1),
            ct.linear_recurrence(x, x, 1, initial=start),
            ct.cumsum(x, 1, out=torch.empty_like(x)),
        )


def arguments(rows: int = 4, columns: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    return data(rows, columns).float(), data(rows, columns, seed=1) > 0, data(rows, seed=2).float()


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "aot_eager_decomp_partition"])
def test_compile_has_no_break(backend: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    module = Everything()
    compiled = torch.compile(module, fullgraph=True, backend=backend, dynamic=dynamic)
    for sizes in ((4, 6), (5, 7), (3, 9)):
        for ours, expected in zip(compiled(*arguments(*sizes)), module(*arguments(*sizes)), strict=True):
            torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_compile_with_gradients(dynamic: bool) -> None:
    torch._dynamo.reset()

    def f(x: Tensor, w: Tensor, c: Tensor) -> Tensor:
        y = ct.cumsum(x, 1, mask=w, initial=c) * ct.cumprod(x, 1, exclusive=True) + ct.cummax(x, 0, initial=0.0)
        return (ct.linear_recurrence(w, y, 1, reverse=True) ** 2).sum()

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for sizes in ((4, 6), (5, 7)):
        inputs = [t.requires_grad_() for t in (data(*sizes), data(*sizes, seed=1), data(sizes[0], 1, seed=2))]
        for ours, expected in zip(torch.autograd.grad(compiled(*inputs), inputs), torch.autograd.grad(f(*inputs), inputs), strict=True):
            torch.testing.assert_close(ours, expected)


def test_compile_with_inductor() -> None:
    torch._dynamo.reset()

    def f(x: Tensor) -> Tensor:
        return ct.cumsum(x * 2, 1, exclusive=True) + 1

    x = data(4, 6).float().requires_grad_()
    y = torch.compile(f, fullgraph=True)(x)
    torch.testing.assert_close(y, f(x))
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], torch.autograd.grad(f(x).sum(), x)[0])


def test_compiled_transforms() -> None:
    torch._dynamo.reset()
    x = data(3, 5)
    for f in (lambda x: vmap(lambda r: ct.cumsum(r, 0))(x), lambda x: grad(lambda x: ct.cumprod(x, 1).sum())(x)):
        torch.testing.assert_close(torch.compile(f, fullgraph=True, backend="aot_eager")(x), f(x))


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
def test_export(strict: bool) -> None:
    rows, columns = torch.export.Dim("rows", min=2), torch.export.Dim("columns", min=2)
    shapes = {"x": {0: rows, 1: columns}, "mask": {0: rows, 1: columns}, "start": {0: rows}}
    program = torch.export.export(Everything(), arguments(), dynamic_shapes=shapes, strict=strict)
    assert "_scan" not in str(program.graph), "a graph may be differentiated later"
    for ours, expected in zip(program.module()(*arguments(5, 9)), Everything()(*arguments(5, 9)), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)
    decomposed = program.run_decompositions()
    assert "cumulus.scan.default" in str(decomposed.graph)


def test_exported_graph_is_differentiable() -> None:
    class Sum(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ct.cumsum(x, 0)

    x = data(5).requires_grad_()
    y = torch.export.export(Sum(), (data(5),)).module()(x)
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(mode: str) -> None:
    graph = make_fx(lambda x: ct.cumsum(x, 1, reverse=True), tracing_mode=mode)(data(3, 4))
    assert "torch.ops.cumulus.scan.default" in graph.code
    torch.testing.assert_close(graph(data(3, 4)), ct.cumsum(data(3, 4), 1, reverse=True))


@pytest.mark.parametrize("requires_grad", [False, True], ids=["no gradient", "gradient"])
def test_opcheck(requires_grad: bool) -> None:
    def leaf(*shape: int, seed: int = 0) -> Tensor:
        return data(*shape, seed=seed).requires_grad_(requires_grad)

    mask = data(3, 4, seed=9) > 0
    for op in range(4):
        for kind, reverse in ((0, False), (1, True), (2, False)):
            for others in ((None, mask, None), (None, leaf(3, 4, seed=1), leaf(3, 1, seed=2))):
                call = (leaf(3, 4), 1, op, kind, reverse, None, *others)
                torch.library.opcheck(torch.ops.cumulus.scan.default, call)
                if not requires_grad:
                    torch.library.opcheck(torch.ops.cumulus._scan.default, call)
                    out = torch.empty(3, 4 + (kind == 2), dtype=torch.float64)
                    torch.library.opcheck(torch.ops.cumulus.scan_out.default, call, {"out": out})
    torch.library.opcheck(torch.ops.cumulus.scan.default, (leaf(3, 4), 0, 4, 1, False, None, leaf(3, 4, seed=1), None, leaf(1, 4)))
    torch.library.opcheck(torch.ops.cumulus.scan.default, (leaf(), 0))


def test_autocast_is_torchs() -> None:
    x = torch.rand(8, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ct.cumsum(x, 0).dtype == torch.cumsum(x, 0).dtype
    # Fake CUDA tensors stand in for a GPU; torch.autocast("cuda") turns itself off without one, its switch does not.
    torch.set_autocast_enabled("cuda", True)
    try:
        for requires_grad in (False, True):
            with FakeTensorMode():
                on_gpu = torch.empty(8, device="cuda", dtype=torch.bfloat16, requires_grad=requires_grad)
                for f in (ct.cumsum, ct.cumprod, torch.cumsum, torch.cumprod):
                    assert f(on_gpu, 0).dtype == torch.float32
                    assert f(on_gpu, 0, dtype=torch.float64).dtype == torch.float64
                assert ct.linear_recurrence(on_gpu, on_gpu, 0).dtype == torch.float32
                assert ct.cumsum(torch.empty(8, device="cuda", dtype=torch.float64), 0).dtype == torch.float64
    finally:
        torch.set_autocast_enabled("cuda", False)


def test_subclasses_and_modules() -> None:
    class Named(Tensor):
        pass

    x = data(3, 4).as_subclass(Named)
    assert type(ct.cumsum(x, 1)) is Named
    layer = torch.nn.Linear(4, 4, dtype=torch.float64)
    y = functional_call(layer, dict(layer.named_parameters()), (ct.cumsum(data(3, 4), 1),))
    assert ct.cumsum(layer.weight, 0).requires_grad and y.requires_grad


def test_conjugate_and_negative_views() -> None:
    z = torch.randn(3, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert z.conj().is_conj() and z.conj().imag.is_neg()
    torch.testing.assert_close(ct.cumsum(z.conj(), 1), torch.cumsum(z.conj().resolve_conj(), 1))
    torch.testing.assert_close(ct.cumprod(z.conj().imag, 1), torch.cumprod(z.conj().imag.resolve_neg(), 1))
    torch.testing.assert_close(ct.cumsum(z, 1, out=torch.empty_like(z)), torch.cumsum(z, 1))
    torch.testing.assert_close(ct.cumsum(z, 1, out=torch.empty_like(z).conj()).resolve_conj(), torch.cumsum(z, 1))


def test_inference_mode() -> None:
    with torch.inference_mode():
        torch.testing.assert_close(ct.cumsum(data(5), 0), torch.cumsum(data(5), 0))
        torch.testing.assert_close(ct.cumprod(data(5), 0, exclusive=True)[1:], torch.cumprod(data(5), 0)[:-1])
