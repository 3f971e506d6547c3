"""Counts what PyTorch's own samples and checkers were run on, and says so at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # torch_reference, differences

PROPERTY = "sample of PyTorch's"


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """count(check): one more of PyTorch's samples went through a check. Travels with the report, so that workers' counts arrive."""
    return lambda check: request.node.user_properties.append((PROPERTY, check))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for rs in terminalreporter.stats.values() for r in rs if getattr(r, "when", None) == "call"]
    ran = Counter(value for report in reports for name, value in report.user_properties if name == PROPERTY)
    if not ran:
        return
    terminalreporter.section("PyTorch's own samples run on cumulus.torch")
    for check, samples in sorted(ran.items()):
        terminalreporter.write_line(f"{samples:6} {check}")
    terminalreporter.write_line(f"{sum(ran.values()):6} in all")
