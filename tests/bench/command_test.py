"""What `cumulus bench` accepts and prints: command_test.py PATH/TO/cumulus. Only the standard library."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CUMULUS = sys.argv.pop(1)
KEYS = {
    *("case", "op", "kind", "dtype", "shape", "axis", "device", "threads", "simd", "median_us", "spread", "bytes", "gbps"),
    *("ratio_memcpy", "ratio_copy", "peers", "reverse", "mask", "commit", "machine", "date", "version"),
}
QUICK = ("--quick", "--max-mib", "1")


def bench(*arguments, code=0):
    done = subprocess.run([CUMULUS, "bench", *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


class Command(unittest.TestCase):
    def test_list_names_every_group_once(self):
        cases = [case["case"] for case in json.loads(bench("--list", "--json"))]
        self.assertEqual(len(cases), len(set(cases)))
        groups = {case.split("/")[0] for case in cases}
        self.assertEqual(groups, {"workload", "1d", "rows", "columns", "short", "inner", "strides", "mask", "op", "cache", "dtype"})
        for case in cases:
            self.assertIn(case, bench("--list"))

    def test_json_is_a_list_of_objects_with_the_promised_keys(self):
        results = json.loads(bench("--case", "1d/2^?", "--case", "cache/*", "--commit", "abc", "--json", *QUICK))
        self.assertEqual(len(results), 4 + 3)
        for result in results:
            self.assertLessEqual(KEYS, set(result))
            self.assertGreater(result["median_us"], 0)
            self.assertEqual(result["commit"], "abc")
        self.assertEqual(set(results[0]["peers"]), {"std_seq", "std_par_unseq", "tbb_scan"})

    def test_json_goes_to_a_file_beside_the_table(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            text = bench("--case", "1d/2^6", "--no-peers", "--json", str(path), *QUICK)
            self.assertIn("1d/2^6", text)
            self.assertEqual(json.loads(path.read_text())[0]["peers"], {})

    def test_threads_are_measured_in_turn(self):
        results = json.loads(bench("--case", "1d/2^16", "--threads", "1,2", "--threads", "3", "--pin", "--json", "-", *QUICK))
        self.assertEqual([result["threads"] for result in results], [1, 2, 3])

    def test_columns_have_a_peer(self):
        (result,) = json.loads(bench("--case", "cache/columns*", "--json", *QUICK))
        self.assertEqual(list(result["peers"]), ["row_accumulators"])

    def test_wrong_requests_say_what_to_do(self):
        self.assertIn("--list", bench("--case", "no/such/case", code=2))
        bench("--threads", "0", code=2)
        bench("--case", "1d/2^6", "--json", "/no/such/folder/x.json", *QUICK, code=3)


if __name__ == "__main__":
    unittest.main()
