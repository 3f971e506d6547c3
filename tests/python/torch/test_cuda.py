"""The same operators on a GPU: the CPU's bits, streams, graphs, no synchronisation."""

from __future__ import annotations

import itertools
from typing import Any

import cumulus.torch as ct
import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

SHAPES = [((1000,), 0), ((37, 4100), 1), ((37, 4100), 0), ((5, 129, 7), 1), ((1 << 20,), 0), ((), 0), ((0, 3), 0), ((3, 0), 1)]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"exclusive": True},
    {"include_initial": True},
    {"reverse": True},
    {"initial": 2.0},
    {"initial": 2.0, "reverse": True, "exclusive": True},
]


def sample(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, dtype=dtype, generator=generator) * 0.5 + 1
    return torch.randint(0, 2 if dtype == torch.bool else 100, shape, generator=generator).to(dtype)


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.uint8, torch.bool, torch.complex64],
    ids=str,
)
@pytest.mark.parametrize("f", [ct.cumsum, ct.cumprod, ct.cummax, ct.cummin], ids=lambda f: f.__name__)
def test_the_cpus_bits(f: Any, dtype: torch.dtype) -> None:
    if f in (ct.cummax, ct.cummin) and (dtype.is_complex or dtype == torch.bool):
        with pytest.raises(RuntimeError):
            f(sample((3,), dtype).cuda(), 0)
        return
    for (shape, dim), options in itertools.product(SHAPES, OPTIONS):
        x = sample(shape, dtype)
        mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.3
        if not (dtype.is_floating_point or dtype.is_complex):
            options = {k: int(v) if k == "initial" else v for k, v in options.items()}
        for m in (None, mask):
            expected = f(x, dim, mask=m, **options)
            actual = f(x.cuda(), dim, mask=None if m is None else m.cuda(), **options)
            assert actual.is_cuda
            torch.testing.assert_close(actual.cpu(), expected, rtol=0, atol=0, equal_nan=True)


def test_gradients_have_the_cpus_bits() -> None:
    x, weights, start = sample((9, 300), torch.float32), sample((9, 300), torch.float32), sample((9,), torch.float32)
    for f in (ct.cumsum, ct.cumprod, ct.cummax):
        grads = []
        for device in ("cpu", "cuda"):
            inputs = [t.detach().to(device).requires_grad_() for t in (x, weights, start)]
            y = f(inputs[0], 1, mask=inputs[1], initial=inputs[2])
            grads.append([g.cpu() for g in torch.autograd.grad(y, inputs, torch.ones_like(y))])
        torch.testing.assert_close(*grads)


def test_initial_of_any_form() -> None:
    x = sample((9, 300), torch.float32).cuda()
    expected = ct.cumsum(x, 1, initial=2.0)
    for initial in (torch.tensor(2.0), torch.tensor(2.0).cuda(), torch.full((9,), 2.0).cuda(), torch.full((9, 1), 2.0).cuda()):
        assert torch.equal(ct.cumsum(x, 1, initial=initial), expected)
    assert torch.equal(ct.cumsum(x[0], 0, initial=torch.tensor(2.0).cuda()), expected[0])
    with pytest.raises(RuntimeError, match="move them to one device"):
        ct.cumsum(x, 1, mask=torch.ones(9, 300))


def test_runs_on_the_current_stream_without_waiting() -> None:
    x = torch.zeros(1 << 24, device="cuda")
    stream = torch.cuda.Stream()
    ct.cumsum(x, 0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.cuda.stream(stream):
            torch.cuda._sleep(1 << 27)
            x.fill_(1.0)
            y = ct.cumsum(x, 0, exclusive=True)
            assert not stream.query(), "the call returns before the device has done it"
            z = torch.rand(64, 64, device="cuda", requires_grad=True)
            ct.cumprod(z, 1).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    stream.synchronize()
    assert y[-1].item() == (1 << 24) - 1


def test_cuda_graph() -> None:
    x = torch.rand(33, 5000, device="cuda")
    start = torch.rand(33, device="cuda")

    def f() -> tuple[Tensor, ...]:
        return ct.cumsum(x, 1, initial=start), ct.cumsum(x, 0, reverse=True), ct.linear_recurrence(x, x, 1), ct.cumsum(x.view(-1), 0)

    warm = torch.cuda.Stream()
    with torch.cuda.stream(warm):
        f()
    warm.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = f()
    for seed in range(3):
        x.copy_(torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)))
        start.fill_(seed)
        graph.replay()
        for ours, expected in zip(captured, f(), strict=True):
            assert torch.equal(ours, expected)


def test_compile_and_autocast() -> None:
    x = torch.rand(8, 100, device="cuda", requires_grad=True)
    f = torch.compile(lambda t: ct.cumsum(t * 2, 1, reverse=True), fullgraph=True, mode="reduce-overhead")
    for _ in range(3):
        y = f(x)
        torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], 2 * torch.arange(1.0, 101, device="cuda").expand(8, -1))
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert ct.cumsum(x.detach().bfloat16(), 1).dtype == torch.cumsum(x.detach().bfloat16(), 1).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device here")
def test_another_device_than_the_current_one() -> None:
    x = torch.rand(1000)
    y = ct.cumsum(x.to("cuda:1"), 0)
    assert y.device == torch.device("cuda:1") and torch.cuda.current_device() == 0
    assert torch.equal(y.cpu(), ct.cumsum(x, 0))
    with pytest.raises(RuntimeError, match="move them to one device"):
        ct.cumsum(x.to("cuda:1"), 0, mask=torch.ones(1000, device="cuda:0"))
