#!/usr/bin/env python3
"""What a small call from Python costs: Cumulus's fronts beside numpy.cumsum and torch.cumsum, interleaved, in one process and one thread.

    bench/python_calls.py [--rounds N] [--commit C] [--json FILE]

Run it with the Python that has the package cumulus (scripts/test_python makes one). Every figure is the median over the rounds of the
time of a call, from batches of calls; the loop's own time is taken off.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cumulus
import numpy as np

SIZES = (64, 512, 2000, 16384)
BATCH_SECONDS = 0.02


def numpy_calls(n: int) -> dict[str, Callable[[], Any]]:
    x = np.random.default_rng(0).random(n, dtype=np.float32)
    return {"cumulus": lambda: cumulus.cumsum(x), "numpy": lambda: np.cumsum(x)}


def torch_calls(n: int) -> dict[str, Callable[[], Any]]:
    import cumulus.torch
    import torch

    x = torch.rand(n)
    aten, function = torch.ops.aten.cumsum.default, cumulus.torch.cumsum
    operator = torch.ops.cumulus._scan.default
    return {
        "cumulus": lambda: operator(x, 0),
        "cumulus.torch.cumsum": lambda: function(x, 0),
        "torch.ops.aten.cumsum.default": lambda: aten(x, 0),
        "torch.cumsum": lambda: torch.cumsum(x, 0),
    }


def cuda_calls(n: int) -> dict[str, Callable[[], Any]]:
    """The host's share of a call: the device's is shorter, so that its queue never fills."""
    import cumulus.torch
    import torch

    x = torch.rand(n, device="cuda")
    function = cumulus.torch.cumsum
    return {"cumulus": lambda: function(x, 0), "torch.cumsum": lambda: torch.cumsum(x, 0)}


def measure(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Microseconds a call of each, by round."""
    timers = {name: timeit.Timer(call) for name, call in [*calls.items(), ("", lambda: None)]}
    for timer in timers.values():  # until the core has its speed, and the libraries have made what they make once
        timer.timeit(20_000)
    number = {name: max(1, int(BATCH_SECONDS / (min(timer.repeat(3, 100)) / 100))) for name, timer in timers.items()}
    times: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            times[name].append(timer.timeit(number[name]) / number[name] * 1e6)
    loop = statistics.median(times.pop(""))
    return {name: [t - loop for t in values] for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--commit", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    fronts: dict[str, Callable[[int], dict[str, Callable[[], Any]]]] = {"numpy": numpy_calls}
    versions = {"numpy": np.__version__}
    try:
        import torch

        torch.set_num_threads(1)
        fronts["torch"] = torch_calls
        if torch.cuda.is_available():
            fronts["cuda"] = cuda_calls
        versions["torch"] = torch.__version__
    except ImportError:
        print("no torch here: its calls are left out", file=sys.stderr)
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    for front, make in fronts.items():
        for n in SIZES if front != "cuda" else SIZES[:1]:
            times = measure(make(n), options.rounds)
            medians = {name: statistics.median(values) for name, values in times.items()}
            deciles = statistics.quantiles(times["cumulus"], n=10)
            peers = {name: us for name, us in medians.items() if name != "cumulus"}
            results.append(
                {
                    "case": f"calls/{front}-{n}",
                    "op": "sum",
                    "kind": "inclusive",
                    "dtype": "f32",
                    "shape": [n],
                    "axis": 0,
                    "source": "bench/python_calls.py",
                    "device": "cuda" if front == "cuda" else "cpu",
                    "threads": 1,
                    "simd": cumulus.simd_target,
                    "median_us": medians["cumulus"],
                    "spread": (deciles[-1] - deciles[0]) / medians["cumulus"],
                    "rounds": options.rounds,
                    "bytes": 8 * n,
                    "peers": peers,
                    "versions": versions,
                    "commit": options.commit,
                    "machine": {"cpu": cpu},
                    "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%MZ"),
                    "version": cumulus.__version__,
                }
            )
            print(
                f"{front:6} {n:6}  cumulus {1e3 * medians['cumulus']:8.0f} ns   "
                + "   ".join(f"{k} {1e3 * us:.0f} ns" for k, us in peers.items())
            )
    if options.json:
        options.json.write_text("[\n" + ",\n".join(json.dumps(r) for r in results) + "\n]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
