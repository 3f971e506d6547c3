"""Loads the operators: a library beside this package, built on torch's stable ABI (torch 2.10 or later)."""

from __future__ import annotations

from pathlib import Path

import torch

_OPERATORS = Path(__file__).parent.parent / "_torch.so"


def load() -> None:
    """Register the cumulus operators with torch.

    Raises ImportError when the library is missing or does not fit this torch.
    """
    if not _OPERATORS.exists():
        raise ImportError(
            f"{_OPERATORS} is missing: this cumulus was built without PyTorch; install a wheel, or build it with torch present"
        )
    try:
        torch.ops.load_library(str(_OPERATORS))  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ImportError(
            f"{_OPERATORS} does not load into torch {torch.__version__}: {error}; cumulus.torch needs torch 2.10 or later"
        ) from error
