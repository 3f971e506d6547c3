"""What `cumulus bench` accepts and prints: command_test.py PATH/TO/cumulus [FOLDER OF A FAKE libcuda.so.1]. Only the standard library."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from gpu_results import bench_results, first_call, peer_results

CUMULUS = sys.argv.pop(1)
FAKE_CUDA = sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else None
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

    def test_a_file_that_exists_is_refused_before_anything_is_measured(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            path.write_text("mine")
            for how in (QUICK, ("--list",), ("--cuda", "0"), ("--cuda", "0", "--first-calls")):
                self.assertIn("results.json exists and is left as it is", bench("--json", str(path), *how, code=2))
                self.assertEqual(path.read_text(), "mine")
            bench("--case", "1d/2^6", "--no-peers", "--json", str(path), "--force", *QUICK)
            self.assertEqual(json.loads(path.read_text())[0]["case"], "1d/2^6")

    def test_threads_are_measured_in_turn(self):
        results = json.loads(bench("--case", "1d/2^16", "--threads", "1,2", "--threads", "3", "--pin", "--json", "-", *QUICK))
        self.assertEqual([result["threads"] for result in results], [1, 2, 3])

    def test_columns_have_a_peer(self):
        (result,) = json.loads(bench("--case", "cache/columns*", "--json", *QUICK))
        self.assertEqual(list(result["peers"]), ["row_accumulators"])

    def test_list_of_a_gpus_cases_needs_no_gpu(self):
        cases = {case["case"]: case for case in json.loads(bench("--list", "--cuda", "0", "--json"))}
        self.assertEqual(cases["workload/92-prefixes"]["shape"], [32767, 32768])
        groups = {case.split("/")[0] for case in cases}
        self.assertEqual(groups, {"workload", "before-hopper", "rows", "1d", "columns", "short", "op", "dtype", "small", "middle"})
        self.assertIn("columns/2^24x64", bench("--list", "--cuda", "0", "--case", "columns/*"))

    def test_a_gpu_that_is_not_there_is_an_error_that_says_so(self):
        for arguments in (("--case", "small/2^10"), ("--first-calls",)):
            done = subprocess.run([CUMULUS, "bench", "--cuda", "63", *arguments], capture_output=True, text=True)
            self.assertIn(done.returncode, (2, 4))
            self.assertRegex(done.stderr, "device_index 63 does not exist|driver|no CUDA")
            self.assertEqual(done.stdout, "")

    def test_options_of_the_other_device_are_refused(self):
        self.assertIn("--cuda", bench("--cuda", "0", "--threads", "2", code=2))
        self.assertIn("--cuda", bench("--cuda", "0", "--pin", code=2))
        self.assertIn("--cuda", bench("--first-calls", code=2))
        self.assertIn("--cuda", bench("--no-check", code=2))
        for wrong in ("-1", "x", "1024"):
            self.assertRegex(bench("--cuda", wrong, code=2), r"^cumulus: --cuda: [^\n]{,60} 1023[^0-9]")

    def test_report_reads_a_gpus_results_beside_those_of_its_peers(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("bench.json", "peers.json")]
            for path, results in zip(paths, (bench_results(), peer_results()), strict=True):
                path.write_text(json.dumps(results))
            page, text = Path(folder) / "report.html", Path(folder) / "report.md"
            subprocess.run([CUMULUS, "report", *paths, "-o", page, "--markdown", text], check=True, capture_output=True)
            text = text.read_text()
        for part in (
            "NVIDIA Example, cuda, at abc",
            "small/2^20",
            "first-call/workload/89-cumsum/compiler",
            "failed: cuMemAlloc failed",
            "cub",
        ):
            self.assertIn(part, text)
        self.assertEqual(text.count("NVIDIA Example, cuda, at abc"), 1, "one section for both files")
        self.assertNotIn("run 2", text)  # and one row for a case of both

    def test_wrong_requests_say_what_to_do(self):
        self.assertIn("--list", bench("--case", "no/such/case", code=2))
        bench("--threads", "0", code=2)
        bench("--case", "1d/2^6", "--json", "/no/such/folder/x.json", *QUICK, code=3)


class OnAFakeGpu(unittest.TestCase):
    """The whole command, with a driver that copies but runs no kernel: no result is right, and every time is 10 us."""

    def setUp(self):
        if FAKE_CUDA is None:
            self.skipTest("this build has no CUDA backend")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "results.json"
        self.environment = {**os.environ, "LD_LIBRARY_PATH": FAKE_CUDA, "CUMULUS_CACHE_DIR": str(Path(folder.name) / "cache")}
        if "no NVRTC" in self.run_cumulus("device", "--size", "1", "--rounds", "1"):
            self.skipTest("this machine has no NVRTC")

    def run_cumulus(self, *arguments, code=0):
        done = subprocess.run([CUMULUS, *arguments], capture_output=True, text=True, env=self.environment)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code in (0, 1) else done.stderr

    def bench(self, *arguments, code=0):
        text = self.run_cumulus("bench", "--cuda", "0", "--quick", "--json", str(self.path), *arguments, code=code)
        return text, json.loads(self.path.read_text())

    def test_wrong_bits_are_told_and_the_json_has_what_is_promised(self):
        text, results = self.bench("--case", "small/2^10", "--case", "small/2^20", "--commit", "abc", code=1)
        self.assertEqual([r["status"] for r in results], ["wrong", "wrong"])
        self.assertIn("wrong", text)
        for result in results:
            self.assertEqual(set(result), set(bench_results()[0]) | {"mask", "layout"})
            self.assertEqual((result["machine"], result["commit"]), ({"gpu": "Fake GPU", "sms": 132}, "abc"))
            self.assertAlmostEqual(result["median_us"], 10, 3)
            self.assertEqual(result["rounds"], 3)
        small, large = (set(result["us"]) for result in results)
        self.assertEqual(large, {"scan", "graph", "memcpy", "copy_kernel"})  # its L2 cache has 1 MiB
        self.assertLessEqual({"burst", "empty", "host", "empty_host", "memcpy_graph"}, small)

    def test_bits_are_not_compared_where_that_is_not_wanted(self):
        _, results = self.bench("--case", "small/2^10", "--no-check")
        self.assertEqual(results[0]["status"], "timed")

    def test_a_case_that_fails_leaves_the_others(self):
        self.environment["CUMULUS_NVRTC"] = "/no/such/file"
        self.environment["CUMULUS_CACHE_DIR"] = ""
        text, results = self.bench("--case", "small/2^1[01]", code=1)
        self.assertEqual([r["status"] for r in results], ["failed", "failed"])
        self.assertIn("no NVRTC", results[1]["message"])
        self.assertIn("no NVRTC", text)

    def test_first_calls_are_compiled_and_then_come_from_the_disk_cache(self):
        text, results = self.bench("--first-calls", "--case", "small/2^10")
        self.assertEqual([r["case"] for r in results], ["first-call/small/2^10/compiler", "first-call/small/2^10/disk-cache"])
        for result in results:
            self.assertEqual(set(result), set(first_call("x", 1, 1)) | {"mask", "layout"})
            self.assertEqual(len(result["times_us"]), 5)
        self.assertIn("disk-cache", text)

    def test_another_device_is_refused(self):
        self.assertIn("device_index 7 does not exist", self.run_cumulus("bench", "--cuda", "7", code=2))

    def test_device_prints_the_rates_that_the_gpu_reaches(self):
        arguments = ("device", "--size", "1", "--rounds", "1")
        (gpu,) = json.loads(self.run_cumulus(*arguments, "--json"))["gpus"]
        measured = gpu["measured"]
        self.assertEqual((measured["bytes"], measured["problem"]), (4 << 20, ""))
        self.assertAlmostEqual(measured["copy_gbps"] / measured["read_gbps"], 2)
        self.assertIn("read", self.run_cumulus(*arguments))
        self.assertIsNone(json.loads(self.run_cumulus("device", "--no-measure", "--json"))["gpus"][0]["measured"])


if __name__ == "__main__":
    unittest.main()
