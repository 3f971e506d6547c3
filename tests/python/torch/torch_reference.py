"""An independent scan: a loop over the dimension, in a wide dtype. Slow, and obvious."""

from __future__ import annotations

import torch
from torch import Tensor

IDENTITY = {"cumsum": 0, "cumprod": 1, "cummax": -torch.inf, "cummin": torch.inf}


def combine(name: str, state: Tensor, element: Tensor) -> Tensor:
    if name == "cumsum":
        return state + element
    if name == "cumprod":
        return state * element
    return torch.maximum(state, element) if name == "cummax" else torch.minimum(state, element)


def wide(t: Tensor) -> Tensor:
    return t.to(torch.complex128 if t.is_complex() else torch.float64 if t.is_floating_point() else torch.int64)


def states(
    name: str,
    x: Tensor,
    dim: int,
    *,
    reverse: bool = False,
    mask: Tensor | None = None,
    initial: Tensor | float | None = None,
    a: Tensor | None = None,
) -> Tensor:
    """R(0) to R(n) along dim, in scan order flipped back: what include_initial shows. `a` makes it the recurrence a h + x."""
    x = wide(x)
    if x.dim() == 0:
        x, dim = x.unsqueeze(0), 0
        a = None if a is None else a.unsqueeze(0)
    limit = torch.iinfo(torch.int64)
    identity = 0.0 if a is not None else IDENTITY[name]
    if not (x.is_floating_point() or x.is_complex()):
        identity = int(max(min(identity, limit.max), limit.min))
    if mask is not None:
        mask = mask.expand(x.shape)
    elements = list(x.unbind(dim))
    masks = [None] * len(elements) if mask is None else list(mask.unbind(dim))
    decays = [None] * len(elements) if a is None else list(wide(a).expand(x.shape).unbind(dim))
    shape = (
        x.select(dim, 0).shape
        if elements
        else [*x.shape[:dim], *x.shape[dim + 1 :]]
        if dim >= 0
        else [*x.shape[:dim], *x.shape[x.dim() + dim + 1 :]]
    )
    state = torch.full(shape, identity, dtype=x.dtype)
    if initial is not None:
        state = state * 0 + initial if identity not in (torch.inf, -torch.inf) else torch.zeros_like(state) + initial
    out = [state]
    order = list(zip(elements, masks, decays, strict=True))
    for element, m, decay in reversed(order) if reverse else order:
        if m is not None and m.dtype != torch.bool:
            element = element * wide(m)
        new = combine(name, state, element) if decay is None else decay * state + element
        state = new if m is None or m.dtype != torch.bool else torch.where(m, new, state)
        out.append(state)
    return torch.stack(out[::-1] if reverse else out, dim)


def scan(
    name: str, x: Tensor, dim: int, *, exclusive: bool = False, include_initial: bool = False, reverse: bool = False, **options: object
) -> Tensor:
    """The scan of one of cumulus.torch's functions, in float64, complex128 or int64."""
    all_states = states(name, x, dim, reverse=reverse, **options)  # type: ignore[arg-type]
    if include_initial:
        return all_states
    n = x.size(dim) if x.dim() > 0 else 1
    start = 1 if exclusive == reverse else 0
    result = all_states.narrow(dim, start, n)
    return result if x.dim() > 0 else result.squeeze(0)
