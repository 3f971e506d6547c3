"""The examples of docs/python.md and of the docstrings, and the migration table: every call in its right column works."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import cumulus
import numpy as np
import pytest
from cumulus import _api

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_page() -> None:
    pytest.importorskip("torch", reason="the page's examples use PyTorch too")
    text = PAGE.read_text()
    examples = doctest.DocTestParser().get_doctest(text, {}, "docs/python.md", str(PAGE), 0)
    assert len(examples.examples) > 15
    flags = doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags)
    report: list[str] = []
    runner.run(examples, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", sorted(set(vars(_api)) & set(cumulus.__all__)))
def test_docstrings(name: str) -> None:
    function = getattr(_api, name)
    assert "{" not in function.__doc__, "a placeholder is left in the docstring"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for test in doctest.DocTestFinder().find(function, name, globs={"cumulus": cumulus, "np": np}):
        runner.run(test, out=report.append)
    assert runner.tries > 0 and runner.failures == 0, "".join(report)


def test_migration_table() -> None:
    torch = pytest.importorskip("torch", reason="half of the table is PyTorch")
    import cumulus.torch

    section = PAGE.read_text().split("## Coming from elsewhere")[1].split("## ")[0]
    cells = [line.split(" | ")[1] for line in section.splitlines() if line.startswith("| `")]
    calls = [call for cell in cells for call in re.findall(r"`([^`]*\([^`]*\))`", cell)]
    assert len(calls) >= 15
    for call in calls:
        for_torch = "cumulus.torch" in call
        x = torch.ones(3, 3) if for_torch else np.ones((3, 3))
        names = {"x": x, "mask": x > 0, "axis": 1, "dim": 1, "a": 0 if "cumsum" in call else x, "b": x, "np": np, "cumulus": cumulus}
        assert np.asarray(eval(call, names)).size in (9, 12), call
