"""KernelBench's five scans, level 1, problems 89 to 93: their formulas in plain torch, their inputs, and what must be moved.

Read from KernelBench 0.2.0.dev0, commit 423217d. Problems 92 and 93 are here twice: 92 was redefined on 2025-12-24, and 93 draws a
bool mask which today's harness converts to the dtype of x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

RULES = "KernelBench 0.2.0.dev0, 423217d"
DIM = 1

Formula = Callable[..., Tensor]


def _exclusive(x: Tensor, dim: int) -> Tensor:
    zero = torch.zeros_like(x.narrow(dim, 0, 1))
    return torch.cat((zero, torch.cumsum(x.narrow(dim, 0, x.size(dim) - 1), dim)), dim)


def _old_exclusive(x: Tensor, dim: int) -> Tensor:
    zero = torch.zeros_like(x.narrow(dim, 0, 1))
    return torch.cumsum(torch.cat((zero, x), dim)[:-1], dim)


@dataclass(frozen=True)
class Problem:
    """One problem: `formula(*inputs, dim)` is what it asks for, in plain torch; `model` is Cumulus's answer, a file in models/.

    op, kind, reverse and mask ("none", "select" for bool, "multiply") say which scan that is, in the terms of `cumulus bench`.
    """

    name: str
    title: str
    model: str
    formula: Formula
    op: str = "sum"
    kind: str = "inclusive"
    reverse: bool = False
    mask: str = "none"

    @property
    def path(self) -> Path:
        """The model's file."""
        return Path(__file__).parent / "models" / f"{self.model}.py"

    def source(self) -> str:
        """The model's text: what KernelBench takes as `custom_model_src`."""
        return self.path.read_text(encoding="utf-8")

    def inputs(self, shape: tuple[int, int], dtype: torch.dtype, device: str) -> list[Tensor]:
        """x, uniform in [0, 1), and the mask if there is one: drawn on the CPU as KernelBench draws them, then converted to `dtype`."""
        x = torch.rand(*shape)
        if self.mask == "none":
            return [x.to(device, dtype)]
        mask = torch.randint(0, 2, shape).bool()
        return [x.to(device, dtype), mask.to(device, torch.bool if self.mask == "select" else dtype)]

    def out_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """The result's shape: that of x but for the old 92, which cuts a row and adds a column."""
        return (shape[0] - 1, shape[1] + 1) if self.kind == "prefixes" else shape

    def bytes(self, shape: tuple[int, int], dtype: torch.dtype) -> int:
        """What any implementation must read and write."""
        rows, columns = self.out_shape(shape)
        mask_size = {"none": 0, "select": 1, "multiply": dtype.itemsize}[self.mask]
        return rows * shape[1] * (dtype.itemsize + mask_size) + rows * columns * dtype.itemsize


PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in [
        Problem("89", "inclusive sum", "level1_89_cumsum", lambda x, dim: torch.cumsum(x, dim)),
        Problem("90", "inclusive product", "level1_90_cumprod", lambda x, dim: torch.cumprod(x, dim), op="prod"),
        Problem("91", "reverse sum", "level1_91_cumsum_reverse", lambda x, dim: torch.cumsum(x.flip(dim), dim).flip(dim), reverse=True),
        Problem("92", "exclusive sum", "level1_92_cumsum_exclusive", _exclusive, kind="exclusive"),
        Problem("92-old", "exclusive sum until 2025-12-24", "level1_92_old_cumsum_exclusive", _old_exclusive, kind="prefixes"),
        Problem("93", "masked sum", "level1_93_masked_cumsum", lambda x, mask, dim: torch.cumsum(x * mask, dim), mask="multiply"),
        Problem(
            "93-bool", "masked sum, bool mask", "level1_93_masked_cumsum", lambda x, mask, dim: torch.cumsum(x * mask, dim), mask="select"
        ),
    ]
}
