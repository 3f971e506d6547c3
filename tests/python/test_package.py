"""The installed package: what it holds, what it loads, and that its parts agree."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import cumulus
import pytest

FILES = [str(path) for path in metadata.files("cumulus") or []]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_versions_agree() -> None:
    assert metadata.version("cumulus") == cumulus.__version__
    assert cumulus.order_version == 1


def test_every_bundled_library_has_its_licence() -> None:
    bundled = {re.sub(r"^lib|[-.].*$", "", Path(f).name) for f in FILES if f.startswith("cumulus.libs/")}
    assert {"tbb", "hwy", "fmt"} <= bundled
    licences = [Path(f).name for f in FILES if f.startswith("cumulus/licenses/")]
    for library in bundled:
        assert any(library in name for name in licences), library
    assert "cumulus.txt" in licences


def test_one_binary_for_all_pythons() -> None:
    wheel = next(f for f in metadata.files("cumulus") or [] if f.name == "WHEEL").read_text()
    assert re.search(r"Tag: cp39-abi3-manylinux_2_\d+_x86_64", wheel)
    modules = [f for f in FILES if f.endswith(".so")]
    assert sorted(modules) in (["cumulus/_core.abi3.so"], ["cumulus/_core.abi3.so", "cumulus/_torch.so"])


def test_typed() -> None:
    assert "cumulus/py.typed" in FILES


def test_import_loads_neither_torch_nor_cuda() -> None:
    code = "import sys, cumulus; cumulus.cumsum([1]); print('torch' in sys.modules, 'libcuda' in open('/proc/self/maps').read())"
    assert run(code).split() == ["False", "False"]


def test_torch_is_missing() -> None:
    code = "import sys; sys.modules['torch'] = None\ntry:\n  import cumulus.torch\nexcept ImportError as error: print(error)"
    assert "torch" in run(code)


def test_signal_of_a_missing_library(tmp_path: Path) -> None:
    """Without libcumulus.so the import says what is missing, and does not crash."""
    import shutil

    shutil.copytree(Path(cumulus.__file__).parent, tmp_path / "cumulus", ignore=shutil.ignore_patterns("libcumulus*", "__pycache__"))
    result = subprocess.run([sys.executable, "-c", "import cumulus"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "libcumulus.so.0" in result.stderr


@pytest.mark.parametrize("name", cumulus.__all__)
def test_everything_named_is_there(name: str) -> None:
    assert getattr(cumulus, name) is not None
