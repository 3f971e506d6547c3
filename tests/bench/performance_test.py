"""docs/performance.md is what bench/results and bench/notes.md give, and the results are fit to be committed."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from gpu_results import bench_results, peer_results

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "bench" / "results").glob("*.json"))


class Performance(unittest.TestCase):
    def test_page_is_generated_from_the_results(self):
        subprocess.run([sys.executable, ROOT / "scripts" / "make_performance", "--check"], check=True)

    def test_results_of_a_gpu_get_their_sections(self):
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) / "results"
            shutil.copytree(ROOT / "bench" / "results", results)
            for name, entries in (("bench", bench_results()), ("peers", peer_results())):
                (results / "gpu" / f"2026-01-02-example-{name}.json").write_text(json.dumps(entries))
            page = Path(folder) / "performance.md"
            subprocess.run([sys.executable, ROOT / "scripts" / "make_performance", "--results", results, "--page", page], check=True)
            text = page.read_text()
        for line in (
            "| workload/89-cumsum | rows | 2000.0 us | 1990.0 us | 1.0 % | 0.950 | 0.001 | 0.97, missed | correct |",
            "| 1990.0 us | 1.0 % | 0.950 (0.990 of the multiply kernel) | 0.001 | 0.96, met | correct |",
            "| rows/broken | rows | | | | | | | failed: cuMemAlloc failed |",
            "| small/2^20 | 8.00 | 6.00 | 3.90 | 4.50 | 2.00 | 0.50 | 5.00 | 2.50 | 3.00 | 2.00 | 1.50 |",
            "| first-call/workload/89-cumsum/compiler | 120.0 ms | 10.0 % | 150 ms | met |",
            "| first-call/workload/89-cumsum/disk-cache | 6.0 ms | 10.0 % | 5 ms | missed |",
            "| workload/89-cumsum | 0.945 | 0.422 | 0.704 | 1.34x (cub) |",
        ):
            self.assertIn(line, text)

    def test_results_of_python_name_theirs(self):
        files = sorted((ROOT / "bench" / "results" / "python").glob("*.json"))
        self.assertTrue(files)
        for path in files:
            for result in json.loads(path.read_text()):
                with self.subTest(path=path.name, case=result["case"]):
                    self.assertTrue(result["commit"])
                    self.assertTrue(set(result["machine"]) <= {"cpu", "cores", "gpu", "sms"})

    def test_results_name_their_commit_and_machine_but_no_host(self):
        for path in RESULTS:
            for result in json.loads(path.read_text()):
                with self.subTest(path=path.name, case=result["case"]):
                    self.assertTrue(result["commit"])
                    self.assertEqual(set(result["machine"]), {"cpu", "cores", "l2", "l3"})
            self.assertNotIn(f'"{os.uname().nodename}"', path.read_text())


if __name__ == "__main__":
    unittest.main()
