"""Arrays of other libraries through DLPack. On a machine with a GPU the same tests run there too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import cumulus
import numpy as np
import pytest
from reference import recurrence, scan


class Fake:
    """An array of a library of our own: what the standard asks for, and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __array_namespace__(self) -> Any:
        return FakeNamespace

    def reshape(self, shape: Any) -> Fake:
        return Fake(self.array.reshape(shape))

    def astype(self, dtype: Any) -> Fake:
        return Fake(self.array.astype(dtype))


class FakeNamespace:
    float32, float64, int64, int32, uint64 = np.float32, np.float64, np.int64, np.int32, np.uint64

    @staticmethod
    def from_dlpack(array: Any) -> Fake:
        return Fake(np.from_dlpack(array))

    @staticmethod
    def broadcast_arrays(*arrays: Fake) -> list[Fake]:
        return [Fake(a) for a in np.broadcast_arrays(*(a.array for a in arrays))]


def libraries() -> Iterator[Any]:
    yield pytest.param(Fake, lambda x: x.array, Fake, id="standard")
    try:
        import torch
    except ImportError:
        yield pytest.param(None, None, None, id="torch", marks=pytest.mark.skip(reason="torch is not installed"))
    else:
        yield pytest.param(lambda x: torch.from_numpy(x.copy()), lambda x: x.numpy(), torch.Tensor, id="torch")
        if torch.cuda.is_available():
            yield pytest.param(lambda x: torch.from_numpy(x.copy()).cuda(), lambda x: x.cpu().numpy(), torch.Tensor, id="torch-cuda")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of a GPU's memory for itself
    try:
        import jax
    except ImportError:
        yield pytest.param(None, None, None, id="jax", marks=pytest.mark.skip(reason="jax is not installed"))
    else:
        jax.config.update("jax_enable_x64", True)
        yield pytest.param(jax.numpy.asarray, np.asarray, jax.Array, id="jax")
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except Exception:  # no CuPy, or no device: CuPy has errors of its own
        yield pytest.param(None, None, None, id="cupy", marks=pytest.mark.skip(reason="CuPy or its device is not here"))
    else:
        yield pytest.param(cupy.asarray, cupy.asnumpy, cupy.ndarray, id="cupy")


Make = Callable[[np.ndarray], Any]


@pytest.mark.parametrize(("make", "back", "kind"), list(libraries()))
class TestLibrary:
    def test_results_are_of_the_same_kind(self, make: Make, back: Make, kind: type) -> None:
        x = np.random.default_rng(0).integers(-3, 4, (5, 70)).astype(np.float32)
        for axis in (0, 1, -1):
            got = cumulus.cumsum(make(x), axis)
            assert isinstance(got, kind)
            np.testing.assert_array_equal(back(got), np.cumsum(x, axis))
        np.testing.assert_array_equal(back(cumulus.cumsum(make(x))), np.cumsum(x))
        np.testing.assert_array_equal(back(cumulus.cummax(make(x), 1)), np.maximum.accumulate(x, 1))

    def test_integers_are_widened(self, make: Make, back: Make, kind: type) -> None:
        x = np.random.default_rng(1).integers(0, 100, (5, 70)).astype(np.int32)
        got = back(cumulus.cumsum(make(x), 1))
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, np.cumsum(x, 1))

    def test_options(self, make: Make, back: Make, kind: type) -> None:
        x = np.random.default_rng(2).integers(-3, 4, (5, 70)).astype(np.float32)
        mask = x > 0
        got, total = cumulus.cumsum(make(x), 1, exclusive=True, reverse=True, mask=make(mask), initial=2, return_total=True)
        want, want_total = scan("sum", x, 1, "exclusive", True, mask, 2)
        np.testing.assert_array_equal(back(got), want)
        np.testing.assert_array_equal(back(total), want_total)
        start = np.arange(5, dtype=np.float32)
        np.testing.assert_array_equal(back(cumulus.cumsum(make(x), 1, initial=make(start))), np.cumsum(x, 1) + start[:, None])
        got = cumulus.cumulative_sum(make(x), axis=1, include_initial=True)
        np.testing.assert_array_equal(back(got), scan("sum", x, 1, "prefixes")[0])

    def test_dtype(self, make: Make, back: Make, kind: type) -> None:
        x = np.random.default_rng(3).integers(-3, 4, (5, 70)).astype(np.float32)
        got = back(cumulus.cumsum(make(x), 1, dtype=cumulus_dtype(make(x), "float64")))
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, np.cumsum(x, 1))

    def test_recurrence(self, make: Make, back: Make, kind: type) -> None:
        rng = np.random.default_rng(4)
        a, b = rng.integers(-1, 2, (5, 30)).astype(np.float32), rng.integers(-3, 4, (5, 30)).astype(np.float32)
        np.testing.assert_array_equal(back(cumulus.linear_recurrence(make(a), make(b), 1)), recurrence(a, b, 1)[0])

    def test_errors(self, make: Make, back: Make, kind: type) -> None:
        x = make(np.ones((2, 3), np.float32))
        with pytest.raises(IndexError):
            cumulus.cumsum(x, 2)
        with pytest.raises(TypeError, match="same library"):
            cumulus.cumsum(x, 1, mask=np.ones((2, 3), bool))
        with pytest.raises(TypeError, match="does not convert"):
            cumulus.cumsum(make(np.ones((2, 3), np.int64)), 1, initial=0.5)
        with pytest.raises(TypeError, match="out is a"):
            cumulus.cumsum(x, 1, out=np.ones((2, 3), np.float32))


def cumulus_dtype(array: Any, name: str) -> Any:
    """The dtype as the array's own library spells it."""
    module = type(array).__module__.partition(".")[0]
    return getattr(__import__(module), name) if module == "torch" else np.dtype(name)


def test_torch_out_views_and_bfloat16() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.randint(-3, 4, (6, 50)).to(torch.bfloat16)
    got = cumulus.cumsum(x.t(), 0)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), x.t().float().cumsum(0), rtol=2**-8, atol=0)
    out = torch.empty(50, 6, dtype=torch.bfloat16).t()
    assert cumulus.cumsum(x, 1, out=out) is out
    torch.testing.assert_close(out.float(), x.float().cumsum(1), rtol=2**-8, atol=0)
    with pytest.raises(TypeError, match="cumulus.torch"):
        cumulus.cumsum(torch.ones(3, requires_grad=True))


def test_a_capsule_is_left_to_its_owner() -> None:
    x = np.ones(5)
    import sys

    before = sys.getrefcount(x)
    for _ in range(50):
        cumulus.cumsum(Fake(x))
    assert sys.getrefcount(x) == before
