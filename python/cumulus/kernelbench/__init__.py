"""KernelBench's five scans (level 1, problems 89 to 93) answered by Cumulus, and a runner that sets them beside torch and others.

    python -m cumulus.kernelbench --help

`PROBLEMS["89"].source()` is the text to hand to KernelBench; docs/kernelbench.md tells the rest.
"""

from .problems import PROBLEMS, RULES, Problem

__all__ = ["PROBLEMS", "RULES", "Problem"]
