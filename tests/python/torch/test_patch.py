"""cumulus.torch.patch(): what is routed, what falls through, and that all of it is undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cumulus.torch as ct
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PLACES = [(owner, name + suffix) for name in ("cumsum", "cumprod") for owner, suffix in ((torch, ""), (Tensor, ""), (Tensor, "_"))]


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func).split(".")[0])
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    before = [getattr(owner, name) for owner, name in PLACES]
    yield
    ct.unpatch()
    assert [getattr(owner, name) for owner, name in PLACES] == before


def routed(call: Any) -> bool:
    """Whether a call ran Cumulus's operator, once its result is seen to be torch's."""
    with Operators() as seen:
        result = call()
    ct.unpatch()
    expected = call()
    ct.patch()
    torch.testing.assert_close(result, expected)
    return "cumulus" in seen.names


def test_calls_that_are_routed() -> None:
    x = torch.rand(3, 4)
    ct.patch()
    for call in (
        lambda: torch.cumsum(x, 1),
        lambda: torch.cumsum(input=x, dim=0),
        lambda: torch.cumprod(x, -1, dtype=torch.float64),
        lambda: torch.cumprod(x, 1, out=torch.empty(0)),
        lambda: x.cumsum(0),
        lambda: x.cumprod(dim=0, dtype=torch.float64),
        lambda: x.int().cumsum(0),
        lambda: x.clone().cumsum_(1),
        lambda: x.clone().cumprod_(1),
        lambda: x.int().cumsum_(1),
        lambda: torch.cumsum(torch.nn.Parameter(x), 1),
    ):
        assert routed(call)


def test_calls_that_fall_through() -> None:
    class Named(Tensor):
        pass

    x = torch.rand(3, 4)
    ct.patch()
    for call in (
        lambda: x.as_subclass(Named).cumsum(1),
        lambda: torch.cumsum(x, axis=1),
        lambda: (x.clone().requires_grad_() * 1).cumsum_(1).detach(),
    ):
        assert not routed(call)
    for wrong in (lambda: torch.cumsum(x), lambda: torch.cumsum([1, 2], 0), lambda: torch.cumsum(x, 0, 1), lambda: torch.cumsum(x, 1.5)):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(RuntimeError, match="Bad in-place call"):
        x.clone().cumsum_(1, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="ComplexHalf|not implemented"):
        torch.cumsum(torch.zeros(3, dtype=torch.complex32), 0)


def test_in_place_keeps_memory_and_gradients() -> None:
    x = torch.rand(3, 4)
    expected = torch.cumsum(x, 1)
    with ct.patch():
        address = x.data_ptr()
        assert x.cumsum_(1) is x and x.data_ptr() == address
        torch.testing.assert_close(x, expected)
        t = torch.rand(5, requires_grad=True)
        (grad,) = torch.autograd.grad((t * 2).cumsum_(0).sum(), t)
        assert grad.tolist() == [10, 8, 6, 4, 2]
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            t.cumsum_(0)
        narrow = torch.ones(300, dtype=torch.uint8)
        assert narrow.cumsum_(0).dtype == torch.uint8 and narrow[256] == 1


def test_context_and_function() -> None:
    original = torch.cumsum
    with ct.patch():
        assert torch.cumsum is not original
        with ct.patch():
            pass
        assert torch.cumsum is not original, "the inner context did not patch, so it does not undo"
    assert torch.cumsum is original
    ct.patch()
    ct.patch()
    ct.unpatch()
    ct.unpatch()
    assert torch.cumsum is original
    with pytest.raises(KeyError), ct.patch():
        raise KeyError
    assert torch.cumsum is original


def test_patched_code_compiles() -> None:
    torch._dynamo.reset()
    x = torch.rand(3, 4)
    with ct.patch():
        compiled = torch.compile(lambda t: torch.cumsum(t, 1) + t.cumprod(0), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), ct.cumsum(x, 1) + ct.cumprod(x, 0))
