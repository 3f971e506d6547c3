"""examples/gallery.py makes its pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "gallery.py"


def test_every_picture_is_made(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the gallery needs matplotlib")
    subprocess.run([sys.executable, SCRIPT, tmp_path, "--quick"], check=True, timeout=300)
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert len(pictures) == 5 and all((tmp_path / name).stat().st_size > 10_000 for name in pictures), pictures
