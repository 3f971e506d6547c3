"""Prefix scans of arrays: cumulative sum, product, maximum, minimum and the linear recurrence.

One pass over memory for every layout and variant (exclusive, reverse, masked, with an initial value and a total), and the same bits
on every machine. NumPy arrays and everything that speaks DLPack here; PyTorch with autograd in ``cumulus.torch``.
"""

from cumulus._api import (
    cummax,
    cummin,
    cumprod,
    cumsum,
    cumulative_prod,
    cumulative_sum,
    linear_recurrence,
)
from cumulus._core import order_version, simd_target
from cumulus._core import version as __version__

__all__ = [
    "__version__",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "linear_recurrence",
    "order_version",
    "simd_target",
]
