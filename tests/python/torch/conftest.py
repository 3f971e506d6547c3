"""Counts what PyTorch's own samples and checkers were run on; tests/python/conftest.py says so at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # torch_reference, differences

PROPERTY = "sample of PyTorch's"


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """count(check): one more of PyTorch's samples went through a check. Travels with the report, so that workers' counts arrive."""
    return lambda check: request.node.user_properties.append((PROPERTY, check))
