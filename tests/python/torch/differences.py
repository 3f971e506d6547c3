"""Where cumulus.torch differs from torch on purpose, and why. test_differences.py keeps this list true."""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    what: str
    torch: str
    cumulus: str
    reason: str


DIFFERENCES = (
    Difference(
        "bits of floating-point results",
        "follow layout, device and version",
        "follow the sequence alone (docs/order.md)",
        "one sequence, one answer; within torch's own test tolerances of torch's result",
    ),
    Difference(
        "cummax and cummin: result",
        "(values, indices)",
        "values; patch() leaves torch's alone",
        "indices would be a second scan for those who do not need them",
    ),
    Difference(
        "cummax and cummin: -0 and +0",
        "equal: the later one is shown",
        "-0 < +0, IEEE 754-2019 maximum and minimum",
        "the result must not depend on the order in which elements are combined",
    ),
    Difference(
        "cummax and cummin: bool",
        "bool",
        "RuntimeError",
        "the core scans bool as numbers; x.to(torch.uint8) says what is meant",
    ),
    Difference(
        "mask of another dtype than bool",
        "torch.masked converts it to bool",
        "multiplies, in cumsum, cumprod, cummax and cummin; masked_cumsum and masked_cumprod convert as torch",
        "x * mask in one pass, without the product in memory",
    ),
    Difference(
        "axis= for dim=",
        "accepted",
        "TypeError; patch() lets torch do it",
        "one name for one thing",
    ),
    Difference(
        "in-place functions",
        "cumsum_, cumprod_",
        "out=x; patch() routes the methods there",
        "out= says it already, and autograd needs torch's own in-place call",
    ),
)
