"""Which rules a call follows: NumPy's (_arrays.py), or those of the library that its arrays come from (_dlpack.py)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from cumulus import _arrays, _core, _dlpack


def scan(
    op: int,
    x: Any,
    axis: Any,
    dtype: Any,
    out: Any,
    exclusive: Any,
    reverse: Any,
    mask: Any,
    initial: Any,
    return_total: Any,
    include_initial: bool = False,
) -> Any:
    """A scan of one input, all options."""
    options = _arrays.Options(op, _kind(exclusive, include_initial), bool(reverse), mask, initial, bool(return_total))
    if _dlpack.is_foreign(x):
        return _dlpack.scan(options, [x], axis, dtype, out)
    return _arrays.scan(options, x, axis, dtype, out)


def recurrence(
    a: Any,
    b: Any,
    axis: int,
    dtype: Any,
    out: Any,
    exclusive: bool,
    reverse: bool,
    mask: Any,
    initial: Any,
    return_total: bool,
    include_initial: bool,
) -> Any:
    """A scan of two inputs, all options."""
    options = _arrays.Options(_core.recurrence, _kind(exclusive, include_initial), bool(reverse), mask, initial, bool(return_total))
    if _dlpack.is_foreign(a) or _dlpack.is_foreign(b):
        return _dlpack.scan(options, [a, b], axis, dtype, out)
    return _arrays.recurrence(options, a, b, axis, dtype, out)


def check_standard_axis(x: Any, axis: int | None) -> None:
    """The array API's rule: one axis at least, and `axis` unless there is just one."""
    rank = x.ndim if hasattr(x, "ndim") else np.ndim(x)
    if rank == 0:
        raise ValueError("x is a scalar, and the array API's cumulative functions need an axis: use cumsum or cumprod, or give an array")
    if axis is None and rank != 1:
        raise ValueError(f"axis is None but x has {rank} axes: name one (only one-dimensional input may leave it out)")


def _kind(exclusive: bool, include_initial: bool) -> int:
    if exclusive and include_initial:
        raise ValueError("exclusive and include_initial are two different kinds of scan: ask for one of them")
    if include_initial:
        return _core.prefixes
    return _core.exclusive if exclusive else _core.inclusive


_core.set_general(scan)
assert sys.byteorder == "little", "Cumulus is built for little-endian machines"
