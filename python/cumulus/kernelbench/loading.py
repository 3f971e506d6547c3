"""From a file to its ModelNew class: a Python file, or a task document that holds one as its current code."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

HEADING = "[CURRENT CODE]"
_FENCE = re.compile(r"^```python[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def model_source(text: str) -> str:
    """The Python text in a file's text.

    A task document has a line `[CURRENT CODE]`; the first fenced python block after it is returned (a later one shows the form of an
    answer). Text without such a line is Python already.

    Raises ValueError for a document whose heading is not followed by a closed block.
    """
    heading = re.search(rf"^{re.escape(HEADING)}[ \t]*$", text, re.MULTILINE)
    if heading is None:
        return text
    block = _FENCE.search(text, heading.end())
    if block is None:
        raise ValueError(f"no fenced block ```python ... ``` follows the line {HEADING}; close the block, or give the code as a .py file")
    return block.group(1)


def load_model(path: Path, folder: Path) -> type[Any]:
    """ModelNew of the file at `path`.

    The text goes into a file of its own in `folder`, which must outlive the model, and is imported from there as KernelBench imports
    Triton code: @triton.jit reads the source of its functions.

    Raises ValueError if there is no ModelNew, and whatever the code raises when imported.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".py", dir=folder, delete=False, encoding="utf-8") as file:
        file.write(model_source(path.read_text(encoding="utf-8")))
    spec = importlib.util.spec_from_file_location("model_under_test", file.name)
    assert spec is not None and spec.loader is not None  # a name that ends in .py always has both
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not isinstance(model := getattr(module, "ModelNew", None), type):
        raise ValueError(f"{path.name} defines no class ModelNew; KernelBench looks for that name")
    return model
