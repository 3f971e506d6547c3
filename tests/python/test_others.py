"""Tests nobody here wrote: NumPy's own, run against Cumulus, and the array API standard's cases for the cumulative functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import cumulus
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.tests import test_function_base, test_nanfunctions

# ---- NumPy's tests ----


@pytest.mark.parametrize("function", [cumulus.cumsum, cumulus.cumulative_sum])
def test_numpys_test_cumsum(function: Callable[..., Any]) -> None:
    test_function_base.TestCumsum().test_basic(function)


@pytest.mark.parametrize("function", [cumulus.cumprod, cumulus.cumulative_prod])
def test_numpys_test_cumprod(function: Callable[..., Any]) -> None:
    test_function_base.TestCumprod().test_basic(function)


@pytest.mark.parametrize(
    "name", [name for name, value in vars(test_function_base).items() if "cumulative" in name.lower() and callable(value)]
)
def test_numpys_cumulative_include_initial(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "cumulative_sum", cumulus.cumulative_sum)
    monkeypatch.setattr(np, "cumulative_prod", cumulus.cumulative_prod)
    getattr(test_function_base, name)()


NAN_TESTS = [
    name for name, value in inspect.getmembers(test_nanfunctions.TestNanFunctions_CumSumProd, callable) if name.startswith("test_")
]
# What is different on purpose: no extended precision, whose size is each machine's own; and results are plain arrays.
DIFFERENT = {
    "test_dtype_from_char": "long double",
    "test_dtype_from_dtype": "long double",
    "test_dtype_from_input": "long double",
    "test_subclass": "a subclass of ndarray",
}


@pytest.mark.parametrize("name", [name for name in NAN_TESTS if name not in DIFFERENT])
def test_numpys_nancumsum_and_nancumprod(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """np.nancumsum replaces NaN and calls np.cumsum: here it calls ours."""
    monkeypatch.setattr(np, "cumsum", cumulus.cumsum)
    monkeypatch.setattr(np, "cumprod", cumulus.cumprod)
    tests = test_nanfunctions.TestNanFunctions_CumSumProd()
    method = getattr(tests, name)
    marks = [mark for mark in getattr(method, "pytestmark", []) if mark.name == "parametrize"]
    cases: list[dict[str, Any]] = [{}]
    for mark in marks:
        names, values = mark.args
        split = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
        cases = [{**case, **dict(zip(split, v if len(split) > 1 else (v,), strict=False))} for case in cases for v in values]
    for case in cases:
        method(**case)


def test_the_differences_are_still_there() -> None:
    assert set(DIFFERENT) <= set(NAN_TESTS)


# ---- the array API standard, 2024.12: cumulative_sum and cumulative_prod ----

STANDARD = {
    "int8": "int64",
    "int16": "int64",
    "int32": "int64",
    "int64": "int64",
    "uint8": "uint64",
    "uint16": "uint64",
    "uint32": "uint64",
    "uint64": "uint64",
    "float32": "float32",
    "float64": "float64",
    "complex64": "complex64",
    "complex128": "complex128",
}


@settings(max_examples=200, deadline=None)
@given(st.data())
@pytest.mark.parametrize(
    ("function", "reduce", "start"),
    [(cumulus.cumulative_sum, np.sum, 0), (cumulus.cumulative_prod, np.prod, 1)],
    ids=["sum", "prod"],
)
def test_array_api(function: Callable[..., Any], reduce: Callable[..., Any], start: int, data: st.DataObject) -> None:
    """As in the standard's test suite: shape, dtype, and every prefix against the reduction of the same slice."""
    dtype = data.draw(st.sampled_from(list(STANDARD)))
    x = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5), elements=st.integers(0, 3)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    keywords: dict[str, Any] = {"include_initial": data.draw(st.booleans())}
    if x.ndim > 1 or data.draw(st.booleans()):
        keywords["axis"] = axis
    if data.draw(st.booleans()):
        keywords["dtype"] = data.draw(st.sampled_from([d for d in STANDARD if np.can_cast(dtype, d)]))
    got = function(x, **keywords)
    axis %= x.ndim
    assert got.dtype == keywords.get("dtype", STANDARD[dtype])
    assert got.shape == tuple(n + (keywords["include_initial"] and i == axis) for i, n in enumerate(x.shape))
    rows, sums = np.moveaxis(x, axis, -1), np.moveaxis(got, axis, -1)
    if keywords["include_initial"]:
        assert (sums[..., 0] == start).all()
        sums = sums[..., 1:]
    for k in range(x.shape[axis]):
        np.testing.assert_array_equal(sums[..., k], reduce(rows[..., : k + 1], axis=-1, dtype=got.dtype))


def test_array_api_special_cases() -> None:
    assert cumulus.cumulative_sum(np.zeros(0)).shape == (0,)
    assert cumulus.cumulative_sum(np.zeros((3, 0)), axis=1, include_initial=True).tolist() == [[0], [0], [0]]
    assert cumulus.cumulative_prod(np.zeros(0, np.float32), include_initial=True).tolist() == [1]
    for function in (cumulus.cumulative_sum, cumulus.cumulative_prod):
        with pytest.raises(ValueError):
            function(np.zeros((2, 2)))
        with pytest.raises(ValueError):
            function(np.array(1.0))
        with pytest.raises(TypeError):
            function(np.zeros(2), 0)  # axis by keyword only
        with pytest.raises(IndexError):
            function(np.zeros((2, 2)), axis=2)
