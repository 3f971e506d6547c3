"""Prefix scans for PyTorch: drop-ins for torch.cumsum and torch.cumprod, and what torch lacks.

    import cumulus.torch as ct

    ct.cumsum(x, 1)                                       # torch.cumsum(x, 1)
    ct.cumsum(x, 1, exclusive=True, reverse=True)         # one pass, no flip, no cat
    ct.cumsum(x, 1, mask=m)                               # bool selects, any other dtype multiplies
    y, carry = ct.cumsum(x, 1, initial=carry, return_total=True)
    ct.linear_recurrence(a, b, 1)                         # h[i] = a[i] h[i-1] + b[i]
    with ct.patch(): ...                                  # torch.cumsum and torch.cumprod are Cumulus's

Tensors on the CPU and on CUDA devices, with the same bits on both. Everything works under autograd (reverse and forward mode, any
order), torch.func, torch.compile(fullgraph=True), torch.export, CUDA graphs and autocast. Needs torch 2.10 or later.
"""

from ._functions import cummax, cummin, cumprod, cumsum, linear_recurrence, masked_cumprod, masked_cumsum
from ._patch import patch, unpatch

__all__ = ["cummax", "cummin", "cumprod", "cumsum", "linear_recurrence", "masked_cumprod", "masked_cumsum", "patch", "unpatch"]
