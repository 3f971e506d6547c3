"""The documents' examples do what they say: blocks that follow a line `<!-- test -->` are compiled and run. Only the standard library.

CUMULUS_LIBRARY: libcumulus.so to link; CUMULUS_CLI: the command line for `sh` blocks; CXX, CC: compilers (default c++, cc).
A block is a whole program or script and fails by its exit status. `sh` blocks find x.npy (4 x 8, f32) and m.npy (bool) in their folder.
"""

import os
import re
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^<!-- test -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def write_npy(path, descr, shape, data):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data)


def compile_and_run(folder, language, code):
    library = Path(os.environ["CUMULUS_LIBRARY"]).resolve()
    source, program = folder / f"example.{language}", folder / "example"
    source.write_text(code)
    compiler = [os.environ.get("CXX") or "c++", "-std=c++20"] if language == "cpp" else [os.environ.get("CC") or "cc", "-std=c99"]
    options = ["-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", str(source), "-o", str(program), str(library)]
    built = subprocess.run([*compiler, *options, f"-Wl,-rpath,{library.parent}"], capture_output=True, text=True)
    return built if built.returncode else subprocess.run([program], cwd=folder, capture_output=True, text=True)


def run_script(folder, code):
    write_npy(folder / "x.npy", "<f4", (4, 8), struct.pack("<32f", *range(32)))
    write_npy(folder / "m.npy", "|b1", (4, 8), bytes(i % 3 == 0 for i in range(32)))
    path = f"{Path(os.environ['CUMULUS_CLI']).resolve().parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )


class Examples(unittest.TestCase):
    def test_marked_blocks_compile_and_run(self):
        languages = set()
        for page in PAGES:
            text = page.read_text()
            blocks = list(BLOCK.finditer(text))
            self.assertEqual(len(blocks), text.count("<!-- test -->"), f"{page.name}: a mark without a block right after it")
            for block in blocks:
                language, code = block.groups()
                languages.add(language)
                line = text.count("\n", 0, block.start()) + 2
                with self.subTest(f"{page.name}:{line}"), tempfile.TemporaryDirectory() as folder:
                    self.assertIn(language, ("cpp", "c", "sh"))
                    run = run_script if language == "sh" else lambda at, text, of=language: compile_and_run(at, of, text)
                    done = run(Path(folder), code)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(languages, {"cpp", "c", "sh"})

    def test_what_is_said_of_the_advice_is_in_it(self):
        text = (ROOT / "docs" / "advise.md").read_text()
        told = text.split("The answer has four parts.")[1].split("## What is read")[0]
        with tempfile.TemporaryDirectory() as folder:
            answer = run_script(Path(folder), BLOCK.search(text)[2])
        figures = re.findall(r"\d+\.\d+ (?:ms|GB|%)", told)
        self.assertGreater(len(figures), 10)
        for figure in figures:
            self.assertIn(figure, answer.stdout)

    def test_links_lead_to_files(self):
        for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
            for target in LINK.findall(FENCED.sub("", page.read_text())):
                if "://" not in target:
                    self.assertTrue((page.parent / target).exists(), f"{page.name} links to {target}")


if __name__ == "__main__":
    unittest.main()
