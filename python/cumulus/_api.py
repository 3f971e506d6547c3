"""The public functions for arrays: signatures and documentation. What they do is in _arrays.py (NumPy) and _dlpack.py (others)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from cumulus import _core, _dispatch

Function = TypeVar("Function", bound=Callable[..., Any])

# What all functions share, in one place. {name} in a docstring is replaced by the text here.
_TEXT = {
    "dtype": """dtype : dtype, optional
        Of the result and of the arithmetic: the input is converted before it is combined (float16 and bfloat16 are combined in
        float32 and rounded once, at the end). Default: as in NumPy, integers narrower than the platform's and bool become int64 or
        uint64; everything else keeps its dtype.""",
    "out": """out : array, optional
        Where the result goes: any layout, the result's shape; converted to its dtype if that differs, as in NumPy. It may be the
        input itself. Arrays with DLPack need the result's very dtype.""",
    "options": """exclusive : bool
        Result i combines the elements before i, not i itself: the first is `initial`, or the operation's identity.
    reverse : bool
        Scan from the last element to the first. The same bits as flipping twice, but nothing is moved.
    mask : array, optional
        Broadcast to the input. A bool mask selects: where it is False the element counts as the identity, even if it holds NaN. Any
        other mask has the input's dtype (or converts to it) and multiplies.
    initial : scalar or array, optional
        Combined before the first element. An array has the input's shape with the axis dropped, or of size 1.
    return_total : bool
        Also return what all elements (and `initial`) combine to, with the axis dropped: the pair (result, total).""",
    "errors": """ValueError
        Shapes that do not fit, a read-only `out`.
    numpy.exceptions.AxisError
        An axis the input does not have (a ValueError and an IndexError).
    TypeError
        A dtype that cannot be scanned, or a mask or initial value that does not convert without loss of kind.""",
}


def _documented(function: Function) -> Function:
    assert function.__doc__ is not None
    for name, text in _TEXT.items():
        function.__doc__ = function.__doc__.replace("{" + name + "}", text)
    return function


@_documented
def cumsum(
    x: Any,
    axis: int | None = None,
    dtype: Any = None,
    out: Any = None,
    *,
    exclusive: bool = False,
    reverse: bool = False,
    mask: Any = None,
    initial: Any = None,
    return_total: bool = False,
) -> Any:
    """Cumulative sum along an axis. Signature and results follow numpy.cumsum.

    Parameters
    ----------
    x : array_like, or any object with __dlpack__ (CuPy, JAX, PyTorch; on the CPU or a CUDA device)
        Any shape and strides; nothing is copied for their sake. A scalar counts as one element.
    axis : int, optional
        Default: the flattened array, as in NumPy.
    {dtype}
    {out}
    {options}

    Returns
    -------
    array of the input's kind and shape (flattened if axis is None).

    Raises
    ------
    {errors}

    Notes
    -----
    Sums of float16 are carried in float32: np.cumsum rounds after every addition, and stops growing at 256 for 0.1s.

    Examples
    --------
    >>> cumulus.cumsum([1, 2, 3, 4])
    array([ 1,  3,  6, 10])
    >>> cumulus.cumsum([1, 2, 3, 4], exclusive=True, reverse=True)
    array([9, 7, 4, 0])
    """
    return _core.scan(_core.sum, x, axis, dtype, out, exclusive, reverse, mask, initial, return_total)


@_documented
def cumprod(
    x: Any,
    axis: int | None = None,
    dtype: Any = None,
    out: Any = None,
    *,
    exclusive: bool = False,
    reverse: bool = False,
    mask: Any = None,
    initial: Any = None,
    return_total: bool = False,
) -> Any:
    """Cumulative product along an axis. Signature and results follow numpy.cumprod.

    Parameters
    ----------
    x : array_like, or any object with __dlpack__
    axis : int, optional
        Default: the flattened array, as in NumPy.
    {dtype}
    {out}
    {options}

    Returns
    -------
    array of the input's kind and shape (flattened if axis is None).

    Raises
    ------
    {errors}

    Examples
    --------
    >>> cumulus.cumprod([1, 2, 3, 4])
    array([ 1,  2,  6, 24])
    """
    return _core.scan(_core.prod, x, axis, dtype, out, exclusive, reverse, mask, initial, return_total)


@_documented
def cummax(
    x: Any,
    axis: int | None = None,
    dtype: Any = None,
    out: Any = None,
    *,
    exclusive: bool = False,
    reverse: bool = False,
    mask: Any = None,
    initial: Any = None,
    return_total: bool = False,
) -> Any:
    """Cumulative maximum along an axis: the values of numpy.maximum.accumulate. NaN sticks, and -0.0 is less than 0.0 (IEEE 754-2019).

    Parameters
    ----------
    x : array_like, or any object with __dlpack__; not complex
    axis : int, optional
        Default: the flattened array.
    dtype : dtype, optional
        Of the result. Default: the input's.
    {out}
    {options}

    Returns
    -------
    array of the input's kind and shape (flattened if axis is None).

    Raises
    ------
    {errors}

    Examples
    --------
    >>> cumulus.cummax([3, 1, 4, 1, 5])
    array([3, 3, 4, 4, 5])
    """
    return _core.scan(_core.max, x, axis, dtype, out, exclusive, reverse, mask, initial, return_total)


@_documented
def cummin(
    x: Any,
    axis: int | None = None,
    dtype: Any = None,
    out: Any = None,
    *,
    exclusive: bool = False,
    reverse: bool = False,
    mask: Any = None,
    initial: Any = None,
    return_total: bool = False,
) -> Any:
    """Cumulative minimum along an axis: the values of numpy.minimum.accumulate. NaN sticks, and -0.0 is less than 0.0 (IEEE 754-2019).

    Parameters
    ----------
    x : array_like, or any object with __dlpack__; not complex
    axis : int, optional
        Default: the flattened array.
    dtype : dtype, optional
        Of the result. Default: the input's.
    {out}
    {options}

    Returns
    -------
    array of the input's kind and shape (flattened if axis is None).

    Raises
    ------
    {errors}

    Examples
    --------
    >>> cumulus.cummin([3, 1, 4, 1, 5])
    array([3, 1, 1, 1, 1])
    """
    return _core.scan(_core.min, x, axis, dtype, out, exclusive, reverse, mask, initial, return_total)


@_documented
def cumulative_sum(
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
    exclusive: bool = False,
    reverse: bool = False,
    mask: Any = None,
    initial: Any = None,
    return_total: bool = False,
) -> Any:
    """Cumulative sum by the rules of the Python array API standard (2023.12), which numpy.cumulative_sum follows too.

    Parameters
    ----------
    x : array_like of one or more dimensions, or any object with __dlpack__
    axis : int, optional
        May be left out for one-dimensional input only.
    {dtype}
    {out}
    include_initial : bool
        Put `initial` (0 unless given) first: the result is one longer along the axis. Not together with exclusive.
    {options}

    Returns
    -------
    array of the input's kind.

    Raises
    ------
    {errors}

    Examples
    --------
    >>> cumulus.cumulative_sum([1, 2, 3], include_initial=True)
    array([0, 1, 3, 6])
    """
    _dispatch.check_standard_axis(x, axis)
    return _dispatch.scan(_core.sum, x, axis, dtype, out, exclusive, reverse, mask, initial, return_total, include_initial)


@_documented
def cumulative_prod(
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
    exclusive: bool = False,
    reverse: bool = False,
    mask: Any = None,
    initial: Any = None,
    return_total: bool = False,
) -> Any:
    """Cumulative product by the rules of the Python array API standard (2024.12), which numpy.cumulative_prod follows too.

    Parameters
    ----------
    x : array_like of one or more dimensions, or any object with __dlpack__
    axis : int, optional
        May be left out for one-dimensional input only.
    {dtype}
    {out}
    include_initial : bool
        Put `initial` (1 unless given) first: the result is one longer along the axis. Not together with exclusive.
    {options}

    Returns
    -------
    array of the input's kind.

    Raises
    ------
    {errors}

    Examples
    --------
    >>> cumulus.cumulative_prod([2, 3, 4], include_initial=True)
    array([ 1,  2,  6, 24])
    """
    _dispatch.check_standard_axis(x, axis)
    return _dispatch.scan(_core.prod, x, axis, dtype, out, exclusive, reverse, mask, initial, return_total, include_initial)


@_documented
def linear_recurrence(
    a: Any,
    b: Any,
    axis: int = -1,
    dtype: Any = None,
    out: Any = None,
    *,
    include_initial: bool = False,
    exclusive: bool = False,
    reverse: bool = False,
    mask: Any = None,
    initial: Any = None,
    return_total: bool = False,
) -> Any:
    """h[i] = a[i] h[i - 1] + b[i] along an axis, with h[-1] = initial (0 unless given). Products are rounded before they are added.

    Parameters
    ----------
    a, b : array_like, or objects with __dlpack__
        Broadcast against each other without a copy: a scalar `a` is an exponential moving sum.
    axis : int
        Of the broadcast shape; the last by default.
    dtype : dtype, optional
        Of the result. Default: what a and b promote to; integers narrower than the platform's become int64 or uint64.
    {out}
    include_initial : bool
        Put `initial` first: the result is one longer along the axis. Not together with exclusive.
    exclusive : bool
        Result i is h[i - 1]: what is known before element i.
    reverse : bool
        h[i] = a[i] h[i + 1] + b[i], from the last element to the first.
    mask : bool array, optional
        Broadcast to the input. Where it is False, h keeps its value.
    initial : scalar or array, optional
        h before the first element. An array has the input's shape with the axis dropped, or of size 1.
    return_total : bool
        Also return the last h, with the axis dropped: the pair (result, total).

    Returns
    -------
    array of the broadcast shape.

    Raises
    ------
    {errors}

    Examples
    --------
    >>> cumulus.linear_recurrence(0.5, [1.0, 1.0, 1.0])
    array([1.  , 1.5 , 1.75])
    """
    return _dispatch.recurrence(a, b, axis, dtype, out, exclusive, reverse, mask, initial, return_total, include_initial)
