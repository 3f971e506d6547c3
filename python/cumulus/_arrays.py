"""The general path for arrays: NumPy's rules for dtypes, axes, `out` and broadcasting. The commonest calls never come here (core.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cumulus import _core

try:
    from numpy.lib.array_utils import normalize_axis_index
except ImportError:  # before NumPy 2
    from numpy.core.multiarray import normalize_axis_index  # type: ignore[no-redef, attr-defined, unused-ignore]

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]  # no subscripts before NumPy 1.22
_KIND_ORDER = "buifc"
_WIDE = ("int64", "uint64", "float32", "float64")


class Options(NamedTuple):
    """What a call asks for beyond its inputs."""

    op: int
    kind: int
    reverse: bool
    mask: Any
    initial: Any
    return_total: bool


def scan(options: Options, x: Any, axis: int | None, dtype: Any, out: Any) -> Any:
    """A scan of one input."""
    array = as_array(x, "x")
    if axis is None or array.ndim == 0:
        array, axis, options = _flattened(array, axis, options)
    return _scan(options, [array], axis, _result_dtype(options.op, array.dtype, dtype), out)


def recurrence(options: Options, a: Any, b: Any, axis: int, dtype: Any, out: Any) -> Any:
    """A scan of two inputs."""
    arrays = [as_array(a, "a"), as_array(b, "b")]
    # A Python scalar takes the other's precision, as it does in an expression.
    weak = [value if type(value) in (bool, int, float, complex) else array.dtype for value, array in zip((a, b), arrays)]
    common = np.result_type(*weak)
    arrays = list(np.broadcast_arrays(*(array.astype(common, copy=False) for array in arrays)))
    if arrays[0].ndim == 0:
        arrays = [array.reshape(1) for array in arrays]
    return _scan(options, arrays, axis, _result_dtype(options.op, common, dtype), out)


# ---- rules that the other libraries' arrays follow too, by NumPy's names of dtypes ----


def supported(given: str, result: str) -> bool:
    """The core's list of pairs. All others are converted before the scan, as NumPy does."""
    if given == result:
        return given != "bool"
    real = given in ("float16", "bfloat16", "float32", "float64")
    integer = given == "bool" or given.startswith(("int", "uint"))
    return result in _WIDE[2:] if real else integer and result in _WIDE


def promoted(op: int, given: str) -> str:
    """The result's dtype unless another is asked for: sums and products of integers narrower than the platform's are widened."""
    if op in (_core.max, _core.min):
        return given
    if given in ("bool", "int8", "int16", "int32"):
        return "int64"
    return "uint64" if given in ("uint8", "uint16", "uint32") else given


def initial_array(initial: Any, result: str) -> Array:
    """A start value in the accumulator of the result's dtype."""
    accumulator = np.dtype("float32" if result in ("float16", "bfloat16") else result)
    if type(initial) is int:
        return np.array(initial, dtype=accumulator)  # an OverflowError if it does not fit
    array = as_array(initial, "initial")
    if _KIND_ORDER.index(array.dtype.kind) > _KIND_ORDER.index(accumulator.kind):
        raise TypeError(f"initial has dtype {array.dtype}, which does not convert to the result's {result}: ask for a wider dtype=")
    return array.astype(accumulator)


# ---- NumPy's own ----


def as_array(value: Any, name: str) -> Array:
    """An aligned array in this machine's byte order, copied only if it is not one already."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, and Cumulus would ignore its mask: pass {name}.data, and mask=~{name}.mask")
    array = np.asarray(value)
    _check_dtype(array.dtype, f"{name} has dtype {array.dtype}")
    return usable(array)


def _check_dtype(dtype: np.dtype[Any], what: str) -> None:
    known = dtype.kind in _KIND_ORDER and dtype not in (np.longdouble, np.clongdouble)
    if not known and dtype.name != "bfloat16":
        raise TypeError(f"{what}, which cannot be scanned: convert it to a bool, integer, float or complex dtype of at most 64 bits a part")


def usable(array: Array) -> Array:
    """The array itself, or a copy if the library cannot address its elements."""
    divisible = all(stride % array.itemsize == 0 for stride in array.strides)
    if array.dtype.isnative and array.flags.aligned and divisible:
        return array
    return array.astype(array.dtype.newbyteorder("="), order="C")


def _flattened(array: Array, axis: Any, options: Options) -> tuple[Array, int, Options]:
    if array.ndim == 0 and axis is not None:
        normalize_axis_index(axis, 1)  # NumPy takes a scalar for one element
    mask = options.mask
    if mask is not None and array.ndim != 1:
        mask = np.broadcast_to(as_array(mask, "mask"), array.shape).reshape(-1)
    return array.reshape(-1), 0, options._replace(mask=mask)


def _result_dtype(op: int, given: np.dtype[Any], asked: Any) -> np.dtype[Any]:
    if asked is not None:
        dtype: np.dtype[Any] = np.dtype(asked).newbyteorder("=")
        _check_dtype(dtype, f"dtype is {dtype}")
        if dtype == np.bool_ and op not in (_core.max, _core.min):
            raise TypeError("dtype is bool, which Cumulus does not sum or multiply: use cummax (any so far) or cummin (all so far)")
        return dtype
    name = promoted(op, given.name)
    return given if name == given.name else np.dtype(name)


def _scan(options: Options, inputs: list[Array], axis: int, dtype: np.dtype[Any], out: Array | None) -> Any:
    shape = inputs[0].shape
    axis = normalize_axis_index(axis, len(shape))
    shape = shape[:axis] + (shape[axis] + (options.kind == _core.prefixes),) + shape[axis + 1 :]
    if out is not None:
        _check_out(out, shape)
        # The dtype NumPy's ufuncs would compute in.
        dtype = np.result_type(dtype, out.dtype) if dtype.name != "bfloat16" else dtype
    if dtype == np.bool_:
        return _scan_bool(options, inputs, axis, out)
    mask = _mask(options.mask, inputs[0].dtype)
    if not supported(inputs[0].dtype.name, dtype.name):
        inputs = [array.astype(dtype) for array in inputs]
        if mask is not None and mask.dtype != np.bool_:
            mask = mask.astype(dtype)
    initial = None if options.initial is None else initial_array(options.initial, dtype.name)
    direct = out is not None and out.dtype == dtype and usable(out) is out and _separate(out, inputs, mask, initial)
    result = out if direct and out is not None else _like(inputs[0], shape, dtype)
    total = np.empty(shape[:axis] + shape[axis + 1 :], dtype) if options.return_total else None
    given = [_bits(array) for array in inputs] + [None]
    _core.scan_into(
        options.op,
        options.kind,
        axis,
        options.reverse,
        given[0],
        given[1],
        _bits(result),
        _bits(mask),
        _bits(initial),
        _bits(total),
        0,
    )
    if out is not None and not direct:
        np.copyto(out, result, casting="unsafe")  # what NumPy's cumulative functions do
        result = out
    return (result, total[()]) if total is not None else result


def _scan_bool(options: Options, inputs: list[Array], axis: int, out: Array | None) -> Any:
    """Maximum and minimum of bool: those of the bytes 0 and 1."""
    given = [array.astype(np.bool_, copy=False).view(np.uint8) for array in inputs]
    mask = None if options.mask is None else _mask(options.mask, np.dtype(np.bool_))
    initial = np.bool_(options.op == _core.min) if options.initial is None else as_array(options.initial, "initial")
    if initial.dtype != np.bool_:
        raise TypeError(f"initial is {initial.dtype} but the result is bool: pass a bool")
    target = out.view(np.uint8) if out is not None else None
    result = _scan(options._replace(mask=mask, initial=initial.view(np.uint8)), given, axis, np.dtype(np.uint8), target)
    if options.return_total:
        values, total = result
        return (out if out is not None else values.view(np.bool_)), np.asarray(total).view(np.bool_)[()]
    return out if out is not None else result.view(np.bool_)


def _check_out(out: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}: it must be a NumPy array, as x is")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, but the result has {shape}: give an array of that shape")
    if not out.flags.writeable:
        raise ValueError("out is read-only: give an array that can be written")


def _mask(mask: Any, given: np.dtype[Any]) -> Array | None:
    if mask is None:
        return None
    array = as_array(mask, "mask")
    if array.dtype == np.bool_ or array.dtype == given:
        return array
    if not np.can_cast(array.dtype, given, "same_kind"):
        raise TypeError(f"mask has dtype {array.dtype}, which does not convert to x's {given}: pass a bool mask, or convert one of the two")
    return array.astype(given)


def _like(array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A new array whose axes lie in memory in the order of the input's, as NumPy's results do."""
    return np.empty_like(array, dtype=dtype, shape=shape, subok=False)


def _separate(out: Array, inputs: list[Array], mask: Array | None, initial: Array | None) -> bool:
    """Whether the scan may write `out` while it reads: nothing overlaps, or `out` is an input itself."""
    for array in inputs:
        same = array.dtype.itemsize == out.dtype.itemsize and array.shape == out.shape and array.strides == out.strides
        if not (same and array.ctypes.data == out.ctypes.data) and np.may_share_memory(array, out):
            return False
    return not any(other is not None and np.may_share_memory(other, out) for other in (mask, initial))


def _bits(array: Array | None) -> Any:
    """bfloat16 is no dtype of NumPy's own: its bits, and their name."""
    if array is not None and array.dtype.name == "bfloat16":
        return array.view(np.uint16), _core.dtype_bf16
    return array
