"""References for the tests: the scan element by element, written from the definition, in a wide type. Slow and independent of Cumulus."""

from __future__ import annotations

from typing import Any

import numpy as np

COMBINE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


def identity(op: str, dtype: np.dtype[Any]) -> Any:
    if op == "sum":
        return dtype.type(0)
    if op == "prod":
        return dtype.type(1)
    if dtype == np.bool_:
        return np.bool_(op == "min")
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return dtype.type(info.min if op == "max" else info.max)
    return dtype.type(-np.inf if op == "max" else np.inf)


def scan(op: str, x: np.ndarray, axis: int, kind: str = "inclusive", reverse: bool = False, mask: Any = None, initial: Any = None) -> Any:
    """The scan of `x` in its own dtype, and its total. kind: inclusive, exclusive or prefixes."""
    x = np.moveaxis(np.asarray(x), axis, -1)
    if mask is not None:
        mask = np.moveaxis(np.broadcast_to(mask, np.moveaxis(x, -1, axis).shape), axis, -1)
        x = np.where(mask, x, identity(op, x.dtype)) if mask.dtype == np.bool_ else x * mask
    if reverse:
        x = x[..., ::-1]
    state = np.full(x.shape[:-1], identity(op, x.dtype), dtype=x.dtype)
    if initial is not None:
        start = np.asarray(initial, dtype=x.dtype)
        if start.ndim == x.ndim and x.ndim > 0:
            start = np.moveaxis(start, axis, -1)[..., 0]
        state = np.broadcast_to(start, state.shape).copy()
    states = [state]
    with np.errstate(all="ignore"):
        for i in range(x.shape[-1]):
            state = COMBINE[op](state, x[..., i])
            states.append(state)
    chosen = {"inclusive": states[1:], "exclusive": states[:-1], "prefixes": states}[kind]
    result = np.stack(chosen, axis=-1) if chosen else np.empty_like(x)
    if reverse:
        result = result[..., ::-1]
    return np.moveaxis(result, -1, axis), state


def recurrence(a: np.ndarray, b: np.ndarray, axis: int, kind: str = "inclusive", reverse: bool = False, initial: Any = 0) -> Any:
    """h[i] = a[i] h[i - 1] + b[i] in the inputs' dtype."""
    a, b = (np.moveaxis(v, axis, -1) for v in np.broadcast_arrays(a, b))
    if reverse:
        a, b = a[..., ::-1], b[..., ::-1]
    state = np.broadcast_to(np.asarray(initial, dtype=b.dtype), b.shape[:-1])
    states = [state]
    for i in range(b.shape[-1]):
        state = a[..., i] * state + b[..., i]
        states.append(state)
    chosen = {"inclusive": states[1:], "exclusive": states[:-1], "prefixes": states}[kind]
    result = np.stack(chosen, axis=-1) if chosen else np.empty_like(b)
    if reverse:
        result = result[..., ::-1]
    return np.moveaxis(result, -1, axis), state
