"""docs/kernelbench.md: its Python blocks run, its commands are commands, its table of problems is the package's."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from cumulus.kernelbench import PROBLEMS, RULES, runner

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "kernelbench.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line.partition("  #")[0] for language, block in BLOCKS if language == "sh" for line in block.splitlines()]


def test_python_blocks(capsys):
    for code in (code for language, code in BLOCKS if language == "python"):
        exec(code, {})
    assert capsys.readouterr().out == f"{torch.tensor([[4.0, 3, 2, 1]] * 2)}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.py", "task.txt"):
        (tmp_path / name).touch()
    python, module_option, module, *arguments = shlex.split(command)
    assert (python, module_option, module) == ("python", "-m", "cumulus.kernelbench")
    runner._parse(arguments)


def test_there_are_commands():
    assert len(COMMANDS) == 5


def test_problems():
    rows = re.findall(r"^\| (9\d\S*|89) \|.*\| (\S.*?) \|$", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == list(PROBLEMS)
    for name, file in rows[:-1]:
        assert file == f"`{PROBLEMS[name].path.name}`"
    assert RULES.split(", ")[0].split()[1] in PAGE and RULES.split(", ")[1] in PAGE
