"""Modules beside the tests are importable by their bare names; the summary says how many of PyTorch's own samples ran."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

SAMPLE = "sample of PyTorch's"  # a property of a test's report, once for each sample (torch/conftest.py)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for rs in terminalreporter.stats.values() for r in rs if getattr(r, "when", None) == "call"]
    ran = Counter(value for report in reports for name, value in report.user_properties if name == SAMPLE)
    if not ran:
        return
    terminalreporter.section("PyTorch's own samples run on cumulus.torch")
    for check, samples in sorted(ran.items()):
        terminalreporter.write_line(f"{samples:6} {check}")
    terminalreporter.write_line(f"{sum(ran.values()):6} in all")
