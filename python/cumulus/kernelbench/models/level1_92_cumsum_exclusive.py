"""KernelBench level 1, problem 92: the exclusive sum: a zero, then `cumsum` without its last element (the definition since 2025-12-24)."""

import torch
import torch.nn as nn

from cumulus.torch import cumsum


def exclusive_sum(x: torch.Tensor, dim: int) -> torch.Tensor:
    """The sums of the first 0 to n - 1 elements along `dim`. Shape and dtype of x."""
    return cumsum(x, dim, exclusive=True)


class ModelNew(nn.Module):
    """The exclusive sum along `dim`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return exclusive_sum(x, self.dim)
