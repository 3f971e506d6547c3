"""The NumPy front: results, promotion, options, `out`, errors."""

from __future__ import annotations

import threading
import time
from typing import Any

import cumulus
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import recurrence, scan

FUNCTIONS = {"sum": cumulus.cumsum, "prod": cumulus.cumprod, "max": cumulus.cummax, "min": cumulus.cummin}
NUMPY = {"sum": np.cumsum, "prod": np.cumprod, "max": np.maximum.accumulate, "min": np.minimum.accumulate}
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
REALS = ["float16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]
DTYPES = ["bool", *INTEGERS, *REALS, *COMPLEX]


def values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Small integers: every sum of them is exact in every dtype of the tests, so results compare by equality."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    x = rng.integers(0 if dtype.startswith("u") else -3, 4, shape)
    return (x + 1j * rng.integers(-3, 4, shape) if dtype.startswith("complex") else x).astype(dtype)


# ---- as NumPy ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", FUNCTIONS)
def test_values_and_dtypes_are_numpys(op: str, dtype: str) -> None:
    if op in ("max", "min") and dtype in COMPLEX:
        with pytest.raises(TypeError, match="no order"):
            FUNCTIONS[op](values(dtype, (3,)))
        return
    if op == "prod":
        x = values(dtype, (6, 7, 5)) if dtype != "float16" else np.sign(values(dtype, (6, 7, 5)))
    else:
        x = values(dtype, (6, 77, 5))
    for axis in (0, 1, 2, -1, -3):
        got, want = FUNCTIONS[op](x, axis), NUMPY[op](x, axis)
        assert got.dtype == want.dtype and type(got) is np.ndarray
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("given_dtype", DTYPES)
@pytest.mark.parametrize("dtype", [*INTEGERS, *REALS, *COMPLEX])
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_dtype_converts_before_the_scan(given_dtype: str, dtype: str) -> None:
    x = values(given_dtype, (5, 9))
    with np.errstate(invalid="ignore"):
        got, want = cumulus.cumsum(x, 1, dtype), np.cumsum(x, 1, dtype)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def test_axis_none_flattens() -> None:
    x = values("float32", (4, 5, 6)).transpose(2, 0, 1)
    np.testing.assert_array_equal(cumulus.cumsum(x), np.cumsum(x))
    np.testing.assert_array_equal(cumulus.cumsum(x, mask=x > 0), np.cumsum(np.where(x > 0, x, 0)))
    np.testing.assert_array_equal(cumulus.cumsum(x, mask=x[:, :1] > 0), np.cumsum(np.where(x[:, :1] > 0, x, 0)))


@pytest.mark.parametrize("x", [3, 3.5, True, np.float32(2), np.array(7, dtype=np.int8)])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_a_scalar_is_one_element(x: Any, axis: int | None) -> None:
    got, want = cumulus.cumsum(x, axis), np.cumsum(x, axis)
    assert got.shape == want.shape == (1,) and got.dtype == want.dtype and got == want


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_empty(shape: tuple[int, ...]) -> None:
    for axis in range(len(shape)):
        got = cumulus.cumsum(np.zeros(shape, np.int8), axis)
        assert got.shape == shape and got.dtype == np.int64
        result, total = cumulus.cumsum(np.zeros(shape, np.float32), axis, initial=2, return_total=True)
        assert (total == 2).all() and result.shape == shape


def test_results_keep_the_order_of_the_axes_in_memory() -> None:
    x = np.asfortranarray(values("float64", (5, 6, 7)))
    for given_array in (x, x.transpose(1, 0, 2), x[::2], x[:, ::-1]):
        assert cumulus.cumsum(given_array, 1).strides == np.cumsum(given_array, 1).strides
        assert cumulus.cumsum(given_array, 1, mask=given_array > 0).strides == np.cumsum(given_array, 1).strides


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_shape_strides_and_dtype(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([d for d in DTYPES if d != "bool"]))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=9))
    big = values(dtype, tuple(2 * n + 1 for n in shape), data.draw(st.integers(0, 99)))
    view = big[tuple(slice(data.draw(st.integers(0, 1)), None, data.draw(st.sampled_from([1, 2]))) for _ in shape)]
    view = view[tuple(slice(None, None, data.draw(st.sampled_from([1, -1]))) for _ in shape)].transpose(
        data.draw(st.permutations(range(len(shape))))
    )
    axis = data.draw(st.integers(-view.ndim, view.ndim - 1))
    kind = data.draw(st.sampled_from(["inclusive", "exclusive", "prefixes"]))
    reverse = data.draw(st.booleans())
    mask = data.draw(st.sampled_from([None, view > 0, np.asarray(view.real > 0)[..., :1]])) if view.size else None
    initial = data.draw(st.sampled_from([None, 2, "array"]))
    wide = view.astype({"f": np.float64, "c": np.complex128, "u": np.uint64, "i": np.int64}[view.dtype.kind])
    if isinstance(initial, str):
        initial = values(dtype, tuple(1 if i == axis % view.ndim else n for i, n in enumerate(view.shape)))
    got, total = cumulus.cumulative_sum(
        view,
        axis=axis,
        include_initial=kind == "prefixes",
        exclusive=kind == "exclusive",
        reverse=reverse,
        mask=mask,
        initial=initial,
        return_total=True,
    )
    want, want_total = scan("sum", wide, axis, kind, reverse, mask, initial)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(total, want_total)


# ---- options ----


@pytest.mark.parametrize(
    ("op", "kind"),
    [*((op, kind) for op in FUNCTIONS for kind in ("inclusive", "exclusive")), ("sum", "prefixes"), ("prod", "prefixes")],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_kinds(op: str, reverse: bool, kind: str) -> None:
    x = values("float64", (9, 130)) / 2 if op != "prod" else np.sign(values("float64", (9, 130))) + 0.0
    if kind == "prefixes":
        function = cumulus.cumulative_sum if op == "sum" else cumulus.cumulative_prod
        got = function(x, axis=1, reverse=reverse, include_initial=True)
    else:
        got = FUNCTIONS[op](x, 1, reverse=reverse, exclusive=kind == "exclusive")
    np.testing.assert_array_equal(got, scan(op, x, 1, kind, reverse)[0])


def test_reverse_is_the_flip_of_the_scan_of_the_flip_bit_for_bit() -> None:
    x = np.random.default_rng(1).random((3, 10001), dtype=np.float32)
    assert cumulus.cumsum(x, 1, reverse=True).tobytes() == cumulus.cumsum(x[:, ::-1], 1)[:, ::-1].tobytes()


def test_the_bits_do_not_depend_on_the_layout() -> None:
    x = np.random.default_rng(2).random((50, 3000), dtype=np.float32)
    want = cumulus.cumsum(x, 1).tobytes()
    assert np.ascontiguousarray(cumulus.cumsum(x.T.copy(), 0).T).tobytes() == want
    assert np.ascontiguousarray(cumulus.cumsum(np.asfortranarray(x), 1)).tobytes() == want
    assert np.stack([cumulus.cumsum(row) for row in x]).tobytes() == want


def test_masks() -> None:
    x = values("float32", (4, 100))
    mask = values("bool", (4, 100))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, mask=mask), np.cumsum(np.where(mask, x, 0), 1))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, mask=mask[0]), np.cumsum(np.where(mask[0], x, 0), 1))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, mask=mask[:, :1]), np.cumsum(np.where(mask[:, :1], x, 0), 1))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, mask=mask.astype(np.float32) * 2), np.cumsum(x * mask * 2, 1))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, mask=mask.astype(np.int8)), np.cumsum(x * mask, 1))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, "float64", mask=mask.astype(np.float16)), np.cumsum(x * mask, 1))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, "int64", mask=mask.astype(np.float32)), np.cumsum(x * mask, 1))
    with_nan = np.where(mask, x, np.float32(np.nan))
    np.testing.assert_array_equal(cumulus.cumsum(with_nan, 1, mask=mask), np.cumsum(np.where(mask, x, 0), 1))
    assert cumulus.cummax(np.array([1, 9, 2], np.int8), mask=np.array([True, False, True])).tolist() == [1, 1, 2]


def test_initial() -> None:
    x = values("float32", (4, 5, 6))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, initial=3), np.cumsum(x, 1) + 3)
    per_row = values("float32", (4, 6))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, initial=per_row), np.cumsum(x, 1) + per_row[:, None])
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, initial=per_row[:, None]), np.cumsum(x, 1) + per_row[:, None])
    np.testing.assert_array_equal(cumulus.cumsum(x, initial=3), np.cumsum(x) + 3)
    half = np.array([0.1, 0.2], np.float16)
    want = np.cumsum(half.astype(np.float32) + np.float32([0.3, 0])).astype(np.float16)
    np.testing.assert_array_equal(cumulus.cumsum(half, initial=0.3), want)
    assert cumulus.cumsum([1, 2], initial=np.uint8(5)).tolist() == [6, 8]


def test_total() -> None:
    x = values("int16", (4, 5, 6))
    for axis in range(3):
        result, total = cumulus.cumsum(x, axis, return_total=True)
        np.testing.assert_array_equal(total, x.sum(axis))
        np.testing.assert_array_equal(result, np.cumsum(x, axis))
        assert total.dtype == np.int64
    result, total = cumulus.cumprod([2.0, 3.0], exclusive=True, initial=2, return_total=True)
    assert result.tolist() == [2, 4] and total == 12 and isinstance(total, np.float64)


def test_bool_maximum_and_minimum() -> None:
    x = values("bool", (5, 40))
    np.testing.assert_array_equal(cumulus.cummax(x, 1), np.maximum.accumulate(x, 1))
    np.testing.assert_array_equal(cumulus.cummin(x, 0), np.minimum.accumulate(x, 0))
    assert cumulus.cummax([False, True], exclusive=True).tolist() == [False, False]
    assert cumulus.cummin([False, True], exclusive=True).tolist() == [True, False]
    result, total = cumulus.cummax([False, True], return_total=True)
    assert result.dtype == bool and total is np.True_
    out = np.empty(2, bool)
    assert cumulus.cummax([False, True], out=out, initial=True) is out and out.all()


def test_bfloat16() -> None:
    bfloat16 = pytest.importorskip("ml_dtypes", reason="ml_dtypes, which has bfloat16 for NumPy, is not installed").bfloat16
    x = values("float32", (3, 50)).astype(bfloat16)
    got = cumulus.cumsum(x, 1)
    assert got.dtype == bfloat16
    np.testing.assert_array_equal(got.astype(np.float32), np.cumsum(x.astype(np.float32), 1))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1, np.float32), np.cumsum(x.astype(np.float32), 1))


# ---- deliberate differences ----


def test_float16_is_carried_in_float32() -> None:
    x = np.full(5000, 0.1, np.float16)
    assert np.cumsum(x)[-1] == 256  # NumPy rounds after every addition
    assert abs(float(cumulus.cumsum(x)[-1]) - 5000 * float(x[0])) < 0.5


def test_a_reverse_sum_keeps_small_suffixes() -> None:
    x = np.concatenate([np.full(1000, 1e8), np.ones(32)]).astype(np.float32)
    assert cumulus.cumsum(x, reverse=True)[-32] == 32


# ---- out ----


@pytest.mark.parametrize("dtype", ["int8", "float32", "float64"])
@pytest.mark.parametrize("out_dtype", ["int32", "float32", "float64", "complex64"])
def test_out_takes_any_layout_and_dtype(dtype: str, out_dtype: str) -> None:
    x = values(dtype, (6, 7))
    for make in (np.zeros, lambda s, d: np.zeros(s[::-1], d).T, lambda s, d: np.zeros((s[0] * 2, s[1] * 3), d)[::2, ::-3]):
        out, want = make((6, 7), out_dtype), make((6, 7), out_dtype)
        np.cumsum(x, 1, out=want)
        assert cumulus.cumsum(x, 1, out=out) is out
        np.testing.assert_array_equal(out, want)


def test_out_may_be_the_input_or_overlap_it() -> None:
    x = values("float64", (50, 60))
    for axis in (0, 1):
        same = x.copy()
        cumulus.cumsum(same, axis, out=same)
        np.testing.assert_array_equal(same, np.cumsum(x, axis))
        shifted = x.copy()
        cumulus.cumsum(shifted[:-1], axis, out=shifted[1:])
        np.testing.assert_array_equal(shifted[1:], np.cumsum(x[:-1], axis))
        mask = x.copy()
        cumulus.cumsum(x, axis, out=mask, mask=mask)
        np.testing.assert_array_equal(mask, np.cumsum(x * x, axis))


def test_out_is_left_alone_by_a_call_that_is_refused() -> None:
    out = np.full(3, 7.0)
    for call in (
        lambda: cumulus.cumsum([1.0, 2.0, 3.0], mask=[True, False], out=out),
        lambda: cumulus.cumsum([1.0, 2.0, 3.0], initial=np.zeros(5), out=out),
        lambda: cumulus.cumsum([1.0, 2.0, 3.0], axis=1, out=out),
    ):
        with pytest.raises(ValueError):
            call()
        assert (out == 7).all()


# ---- arrays the library cannot address as they are ----


def test_foreign_byte_order_misaligned_and_split_strides() -> None:
    x = values("float64", (40,))
    np.testing.assert_array_equal(cumulus.cumsum(x.astype(">f8")), np.cumsum(x))
    raw = np.zeros(8 * 40 + 1, np.uint8)
    misaligned = raw[1:].view(np.float64)
    misaligned[:] = x
    np.testing.assert_array_equal(cumulus.cumsum(misaligned), np.cumsum(x))
    record = np.zeros(40, dtype=[("a", "u1"), ("b", "f8")])
    record["b"] = x
    np.testing.assert_array_equal(cumulus.cumsum(record["b"]), np.cumsum(x))
    out = np.zeros(40, dtype=[("a", "u1"), ("b", "f8")])
    cumulus.cumsum(x, out=out["b"])
    np.testing.assert_array_equal(out["b"], np.cumsum(x))
    big_endian = np.zeros(40, ">f8")
    cumulus.cumsum(x, out=big_endian)
    np.testing.assert_array_equal(big_endian, np.cumsum(x))


def test_strides_of_zero_and_read_only_input() -> None:
    x = np.broadcast_to(np.float32(2), (3, 1000))
    np.testing.assert_array_equal(cumulus.cumsum(x, 1), np.cumsum(x, 1))


# ---- errors ----


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: cumulus.cumsum(np.zeros((2, 3)), axis=2), np.exceptions.AxisError, "axis 2"),
        (lambda: cumulus.cumsum(np.zeros((2, 3)), axis=-3), np.exceptions.AxisError, "axis -3"),
        (lambda: cumulus.cumsum(np.zeros((2, 3)), axis=1.5), TypeError, "integer"),
        (lambda: cumulus.cumsum(1, axis=1), np.exceptions.AxisError, "axis 1"),
        (lambda: cumulus.cumsum(["a"]), TypeError, "cannot be scanned"),
        (lambda: cumulus.cumsum([object()]), TypeError, "cannot be scanned"),
        (lambda: cumulus.cumsum(np.zeros(3, "m8[s]")), TypeError, "cannot be scanned"),
        (lambda: cumulus.cumsum(np.zeros(3, np.longdouble)), TypeError, "cannot be scanned"),
        (lambda: cumulus.cumsum(np.ma.array([1, 2], mask=[0, 1])), TypeError, "masked array"),
        (lambda: cumulus.cumsum([1, 2], dtype=bool), TypeError, "dtype is bool"),
        (lambda: cumulus.cumsum([1, 2], out=[0, 0]), TypeError, "out is a list"),
        (lambda: cumulus.cumsum([1, 2], out=np.zeros(3)), ValueError, "out has shape"),
        (lambda: cumulus.cumsum([1.0, 2.0], out=np.broadcast_to(0.0, 2)), ValueError, "read-only"),
        (lambda: cumulus.cumsum([1, 2], mask=[0.5, 1]), TypeError, "does not convert"),
        (lambda: cumulus.cumsum([1.0, 2.0], mask=[True] * 3), ValueError, "mask"),
        (lambda: cumulus.cumsum([1, 2], initial=0.5), TypeError, "does not convert"),
        (lambda: cumulus.cumsum([1.0, 2.0], initial=1j), TypeError, "does not convert"),
        (lambda: cumulus.cummax(np.zeros(2, np.int8), initial=300), OverflowError, "300"),
        (lambda: cumulus.cumsum([1.0, 2.0], initial=[1.0, 2.0, 3.0]), ValueError, "initial"),
        (lambda: cumulus.cumulative_sum([1, 2], include_initial=True, exclusive=True), ValueError, "two different kinds"),
        (lambda: cumulus.cumulative_sum(np.zeros((2, 2))), ValueError, "name one"),
        (lambda: cumulus.cumulative_prod(3), ValueError, "scalar"),
        (lambda: cumulus.linear_recurrence(np.zeros(2), np.zeros(3)), ValueError, "broadcast"),
        (lambda: cumulus.cummax([1j, 2]), TypeError, "no order"),
    ],
)
def test_errors_name_the_value_and_the_rule(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


# ---- recurrence ----


@pytest.mark.parametrize("kind", ["inclusive", "exclusive", "prefixes"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", ["int64", "float32", "float64", "complex64"])
def test_recurrence(dtype: str, reverse: bool, kind: str) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(-1, 2, (4, 30)).astype(dtype), rng.integers(-3, 4, (4, 30)).astype(dtype)
    for axis in (0, 1):
        got, total = cumulus.linear_recurrence(
            a, b, axis, include_initial=kind == "prefixes", exclusive=kind == "exclusive", reverse=reverse, initial=2, return_total=True
        )
        want, want_total = recurrence(a, b, axis, kind, reverse, 2)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(total, want_total)


def test_recurrence_broadcasts_and_keeps_the_precision() -> None:
    b = np.ones((3, 5), np.float32)
    got = cumulus.linear_recurrence(0.5, b)
    assert got.dtype == np.float32 and got.shape == (3, 5)
    np.testing.assert_array_equal(got, recurrence(np.float32(0.5), b, 1)[0])
    np.testing.assert_array_equal(cumulus.linear_recurrence(b[:, :1], b), recurrence(b[:, :1], b, 1)[0])
    assert cumulus.linear_recurrence(np.float64(0.5), b).dtype == np.float64
    assert cumulus.linear_recurrence(2, np.ones(3, np.int8)).dtype == np.int64
    keep = cumulus.linear_recurrence(0.5, np.ones(3), mask=[True, False, True])
    assert keep.tolist() == [1, 1, 1.5]


# ---- a good guest ----


def test_the_interpreter_runs_while_a_scan_does() -> None:
    x = np.ones(1 << 25, np.float32)
    out = np.empty_like(x)
    cumulus.cumsum(x, out=out)
    done = threading.Event()
    ticks = 0

    def work() -> None:
        for _ in range(5):
            cumulus.cumsum(x, out=out)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        ticks += 1
        time.sleep(0)
    thread.join()
    assert ticks > 5  # with the lock held throughout, this thread gets a turn between the calls at most
    assert out[-1] == 1 << 25


def test_many_threads() -> None:
    x = np.random.default_rng(4).random(100_000)
    want = cumulus.cumsum(x).tobytes()
    wrong: list[int] = []

    def work(k: int) -> None:
        if any(cumulus.cumsum(x).tobytes() != want for _ in range(20)):
            wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_reference_is_kept() -> None:
    import sys

    x = np.ones(10)
    before = sys.getrefcount(x)
    for _ in range(100):
        cumulus.cumsum(x)
        cumulus.cumsum(x, mask=x > 0, out=np.empty(10), return_total=True)
        with pytest.raises(ValueError):
            cumulus.cumsum(x, axis=5)
    assert sys.getrefcount(x) == before
