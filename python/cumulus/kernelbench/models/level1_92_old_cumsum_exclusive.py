"""KernelBench level 1, problem 92, the definition until 2025-12-24: `cat((zero, x), dim)[:-1].cumsum(dim)`.

`[:-1]` cuts axis 0 whatever `dim` is: along axis 1 of (R, C) the result is (R - 1, C + 1).
"""

import torch
import torch.nn as nn

from cumulus.torch import cumsum


def prefix_sums_without_last_row(x: torch.Tensor, dim: int) -> torch.Tensor:
    """The sums of the first 0 to n elements along `dim`, of x without its last index on axis 0.

    Along axis 0 that is the exclusive sum, because a prefix does not depend on what follows it. dtype of x; one longer than x[:-1] along `dim`.
    """
    return cumsum(x[:-1], dim, include_initial=True)


class ModelNew(nn.Module):
    """The prefix sums along `dim`, of all but the last index on axis 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return prefix_sums_without_last_row(x, self.dim)
