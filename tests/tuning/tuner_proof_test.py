"""bench/tuner_proof: tuner_proof_test.py PATH/TO/cumulus. Its arithmetic on invented sessions, and a small run on the CPU."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CUMULUS = sys.argv.pop(1)
SCRIPT = Path(__file__).parents[2] / "bench" / "tuner_proof"


def load():
    loader = importlib.machinery.SourceFileLoader("tuner_proof", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tuner_proof", loader))
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


proof = load()


def candidate(tuning, ms, ratio, rounds=5):
    return {"tuning": tuning, "ms": ms, "ratio": ratio, "rounds": rounds, "decision": "refused"}


def session(first, last, original_ms=2.0):
    return {"original": {"ms": original_ms, "tuning": {}}, "stages": [{"candidates": first}, {"candidates": last}]}


GOOD = {
    "configurations": 250,
    "wrong_bits": 0,
    "best_ms": 2.0,
    "worst_ms": 9.0,
    "poor_ratio": 4.5,
    "from_poor_ratio": 1.01,
    "from_poor_seconds": 9.0,
    "sessions": 20,
    "slower": 0,
}


class Arithmetic(unittest.TestCase):
    def test_every_target_can_be_missed(self):
        self.assertEqual(proof.misses(GOOD), [])
        for key, bad in [
            ("configurations", 199),
            ("wrong_bits", 1),
            ("worst_ms", 3.9),
            ("poor_ratio", 1.7),
            ("from_poor_ratio", 1.04),
            ("from_poor_seconds", 61),
            ("slower", 1),
        ]:
            self.assertEqual(len(proof.misses({**GOOD, key: bad})), 1, key)

    def test_the_optimum_is_the_last_rounds(self):
        screened = [candidate({"warps": 1}, 1.5, 0.75, 3)]
        self.assertEqual(proof.optimum(session(screened, [])), (2.0, {}))
        self.assertEqual(proof.optimum(session(screened, [candidate({"warps": 1}, 1.9, 0.95)])), (1.9, {"warps": 1}))
        self.assertEqual(proof.optimum(session(screened, [candidate({"warps": 1}, 2.2, 1.1)])), (2.2 / 1.1, {}))

    def test_what_was_not_timed_is_no_configuration(self):
        first = [candidate({"warps": 1}, 3.0, 1.5), candidate({"warps": 2}, 0, 1, 0)]
        self.assertEqual(proof.timed(session(first, [])), [(2.0, {}), (3.0, {"warps": 1})])

    def test_workloads(self):
        self.assertEqual(proof.scan_of("92-old", 8), ["--shape", "7x8", "--axis", "1", "--kind", "prefixes"])
        self.assertEqual(proof.scan_of("1d", 32768), ["--shape", str(2**30)])


class OnTheCpu(unittest.TestCase):
    def test_a_small_run(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "proof.json"
            words = [sys.executable, SCRIPT, "--cumulus", CUMULUS, "--workload", "91", "--out", out, "--device", "cpu", "--size", "256"]
            words += ["--repeats", "2", "--session-seconds", "2", "--exhaustive-seconds", "4", "--poor-seconds", "3", "--commit", "abc"]
            done = subprocess.run(words, capture_output=True, text=True)
            self.assertIn(done.returncode, (0, 1), done.stderr)  # a small space on a CPU need not reach a GPU's targets
            found = json.loads(out.read_text())
            table = subprocess.run([sys.executable, SCRIPT, "--table", out], capture_output=True, text=True, check=True).stdout
        self.assertEqual(found["kind"], "tuner-proof")
        self.assertEqual(found["commit"], "abc")
        summary = found["summary"]
        self.assertEqual(done.returncode, 1 if proof.misses(summary) else 0)
        self.assertEqual(summary["wrong_bits"], 0)
        self.assertEqual(len(found["defaults"]), 2)
        self.assertEqual(found["from_poor"]["original"]["tuning"], summary["poor_start"])
        self.assertGreaterEqual(summary["worst_ms"], max(ms for ms, _ in proof.timed(found["exhaustive"])))
        for key in ("from_poor", "without_planner", "exhaustive"):
            self.assertTrue(found[key]["stages"], key)
        self.assertIn("from the slowest", done.stdout)
        self.assertEqual([len(line.split("|")) for line in table.splitlines()], [10, 10, 10])


if __name__ == "__main__":
    unittest.main()
