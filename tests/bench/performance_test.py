"""docs/performance.md is what bench/results and bench/notes.md give, and the results are fit to be committed."""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "bench" / "results").glob("*.json"))


class Performance(unittest.TestCase):
    def test_page_is_generated_from_the_results(self):
        subprocess.run([sys.executable, ROOT / "scripts" / "make_performance", "--check"], check=True)

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
