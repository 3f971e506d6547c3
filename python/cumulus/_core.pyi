"""The compiled half of the NumPy and DLPack fronts: no rules of its own beyond those of the C interface."""

from collections.abc import Callable
from typing import Any

# Operations, kinds and dtypes: values of the C interface.
sum: int
prod: int
max: int
min: int
recurrence: int
inclusive: int
exclusive: int
prefixes: int
dtype_bf16: int
version: str
order_version: int
simd_target: str

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
    /,
) -> Any: ...
def scan_into(
    op: int,
    kind: int,
    axis: int,
    reverse: bool,
    x: Any,
    x2: Any,
    out: Any,
    mask: Any,
    initial: Any,
    total: Any,
    stream: int,
    /,
) -> None: ...
def describe(capsule: object, /) -> tuple[str, bool, int]: ...
def set_general(function: Callable[..., Any], /) -> None: ...
