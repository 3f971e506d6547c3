"""bench/gpu_peers.py without a GPU: gpu_peers_test.py PATH/TO/cumulus. Only the standard library, and PyTorch for one test, where it is."""

import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CUMULUS = sys.argv.pop(1)
sys.path.insert(0, str(ROOT / "bench"))
import gpu_peers  # noqa: E402


def dry_run(*arguments, code=0):
    command = [sys.executable, ROOT / "bench" / "gpu_peers.py", "--dry-run", "--cumulus", CUMULUS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def case(**fields):
    plain = {
        "op": "sum",
        "kind": "inclusive",
        "mask": "none",
        "reverse": False,
        "dtype": "f32",
        "out_dtype": "f32",
        "shape": [8, 16],
        "axis": 1,
    }
    return {**plain, **fields}


class Scripted:
    """Stands in for Rounds: the seconds of each call, in turn."""

    def __init__(self, seconds):
        self.seconds = iter(seconds)

    def once_s(self, call):
        call()
        return next(self.seconds)


class GpuPeers(unittest.TestCase):
    def test_dry_run_lists_cases_and_who_takes_part(self):
        lines = {line.split()[0]: line for line in dry_run().splitlines()}
        for name in ("workload/89-cumsum", "1d/2^30", "columns/2^24x64", "short/2^28x4", "small/2^10", "middle/2^27", "dtype/bf16-rows"):
            self.assertIn("torch, torch.compile", lines[name])
        self.assertTrue(lines["1d/2^30"].endswith("torch, torch.compile, cub, cupy"))
        self.assertNotIn("cub", lines["columns/2^24x64"])
        self.assertNotIn("cupy", lines["workload/91-reverse"])
        self.assertFalse([name for name in lines if name.startswith(("before-hopper/", "op/"))])

    def test_cases_are_selected_and_wrong_globs_are_refused(self):
        self.assertEqual(len(dry_run("--case", "small/2^1?", "--case", "small/2^20").splitlines()), 11 + 1)
        self.assertIn("bench --list --cuda 0", dry_run("--case", "none/*", code=1))

    def test_variants_of_cub(self):
        self.assertEqual(gpu_peers.cub_variant(case()), ("float", 1, 0, 0))
        self.assertEqual(gpu_peers.cub_variant(case(shape=[64], axis=0, reverse=True, kind="exclusive")), ("float", 0, 1, 1))
        for fields in ({"axis": 0}, {"mask": "select"}, {"kind": "prefixes"}, {"op": "prod"}, {"dtype": "u8"}):
            self.assertIsNone(gpu_peers.cub_variant(case(**fields)), fields)

    def test_slow_peers_are_measured_once_and_hopeless_ones_end_the_case(self):
        quiet = {name: lambda: lambda: None for name in ("cumulus", "torch", "torch.compile", "cupy")}
        quick, slow, notes = gpu_peers.try_out(quiet, Scripted([0.1, 3, 2.5, 4, 0.2, 0.3]))  # torch and torch.compile: twice
        self.assertEqual((set(quick), slow), ({"cumulus", "torch.compile", "cupy"}, {"torch": 2.5}))
        self.assertIn("2.5 s", notes["torch"])
        quick, slow, notes = gpu_peers.try_out(quiet, Scripted([0.1, 94]))
        self.assertEqual((set(quick), slow), ({"cumulus"}, {"torch": 94}))
        self.assertIn("another peer took 94 s", notes["cupy"])

    def test_a_peer_that_fails_leaves_the_others(self):
        def fails():
            raise MemoryError("out of memory")

        quick, _, notes = gpu_peers.try_out({"cumulus": lambda: lambda: None, "torch": fails, "cub": lambda: None}, Scripted([0.1]))
        self.assertEqual((set(quick), notes), ({"cumulus"}, {"torch": "MemoryError: out of memory"}))
        with self.assertRaises(MemoryError):
            gpu_peers.try_out({"cumulus": fails}, Scripted([]))

    def test_rounds_are_interleaved_and_slow_contestants_leave_after_three(self):
        rounds, turns = gpu_peers.Rounds.__new__(gpu_peers.Rounds), []
        rounds.us = lambda call: (turns.append(call), 3e5 if call == "slow" else 2.0)[1]
        times = rounds.measure({"cumulus": "scan", "torch": "slow"}, 5, 0)
        self.assertEqual(turns, ["scan", "slow"] * 3 + ["scan"] * 2)
        self.assertEqual({name: len(values) for name, values in times.items()}, {"cumulus": 5, "torch": 3})

    def test_a_line_and_the_json_name_the_fastest_peer(self):
        result = {"case": "1d/2^30", "median_us": 2000.0, "ratio_memcpy": 1.0, "copy_us": 2000.0, "peers": {"torch": 4000.0, "cub": 2500.0}}
        line = gpu_peers.line(result)
        self.assertIn("0.500", line)
        self.assertTrue(line.endswith("1.25x cub"), line)
        with tempfile.TemporaryDirectory() as folder:
            gpu_peers.write([result, result], Path(folder) / "peers.json")
            self.assertEqual((Path(folder) / "peers.json").read_text().count("1d/2^30"), 2)

    def test_calls_of_torch_are_the_scans_they_stand_for(self):
        try:
            import torch
        except ImportError:
            self.skipTest("this Python has no PyTorch")
        x = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
        mask = torch.tensor([[True, False, True], [True, True, True]])
        for fields, m, expected in (
            ({"kind": "exclusive"}, None, [[0, 1, 3], [0, 4, 9]]),
            ({"reverse": True}, None, [[6, 5, 3], [15, 11, 6]]),
            ({"mask": "select"}, mask, [[1, 1, 4], [4, 9, 15]]),
            ({"op": "prod"}, None, [[1, 2, 6], [4, 20, 120]]),
        ):
            y = torch.empty(2, 3)
            described = case(**fields)
            gpu_peers.eager_call(torch, described, x, y, m)()
            self.assertEqual(y.tolist(), expected)
            identity = types.SimpleNamespace(reset=lambda: None)
            plain = types.SimpleNamespace(
                cumsum=torch.cumsum, cumprod=torch.cumprod, zeros_like=torch.zeros_like, ones_like=torch.ones_like, cat=torch.cat,
                _dynamo=identity, compile=lambda function, dynamic: function,
            )  # fmt: skip
            self.assertEqual(gpu_peers.compiled_call(plain, described, x, y, m)().tolist(), expected)


if __name__ == "__main__":
    unittest.main()
