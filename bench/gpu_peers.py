#!/usr/bin/env python3
"""Cumulus beside PyTorch, CUB and CuPy on a GPU: the cases of `cumulus bench --cuda`, all in one process, in interleaved rounds.

    bench/gpu_peers.py --json peers.json
    bench/gpu_peers.py --dry-run                 which cases, and who takes part in each; needs no GPU

Cumulus is the Python package's torch front: the one that is installed, or the one of --wheel FILE. PyTorch takes part as users write
it, eager and compiled; CUB where nvcc is there, compiled on the spot from cub_scan.cu; CuPy where it is installed. Every contestant reads
the same tensor. Times are between CUDA events, after the L2 cache was flushed; calls that move at most a quarter of the L2 cache run once
more before they are timed, so that their data lies in it. Beside all of them stands the driver's copy of as many bytes. A call that takes
longer than 2 s is measured once; where one takes longer than 10 s, the peers after it are not tried. The JSON, written after each case,
has the form of `cumulus bench --json`.
"""

import argparse
import concurrent.futures
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from torch_calls import compiled_call, eager_call

HERE = Path(__file__).resolve().parent
BINARIES = [HERE.parent / "build" / name / "cumulus" for name in ("device/carry", "release")]
# In this order: what PyTorch takes minutes for comes last.
DEFAULT_CASES = ["workload/*", "1d/*", "rows/*", "small/*", "middle/*", "dtype/*", "short/*", "columns/*"]
CUB_TYPES = {"f32": "float", "f64": "double", "i32": "int", "i64": "long long"}
TORCH_TYPES = {
    **{"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64"},
    **{"i32": "int32", "i64": "int64", "u8": "uint8", "bool": "bool"},
}
PEERS = ["torch", "torch.compile", "cub", "cupy"]
TOO_SLOW_S = 2.0  # measured once
HOPELESS_S = 10.0  # and the peers after it are not tried
SLOW_S = 0.25  # takes part in three rounds only


# --- Who takes part --------------------------------------------------------------------------------------------------------------


def cub_variant(case):
    """The macros of cub_scan.cu for a case, or None: CUB scans sums of rows, one or many."""
    plain = case["op"] == "sum" and case["mask"] == "none" and case["dtype"] == case["out_dtype"] and case["dtype"] in CUB_TYPES
    if not plain or case["kind"] == "prefixes" or case["axis"] != len(case["shape"]) - 1:
        return None
    flags = {"BY_ROW": len(case["shape"]) > 1, "EXCLUSIVE": case["kind"] == "exclusive", "REVERSE": case["reverse"]}
    return (CUB_TYPES[case["dtype"]], *(int(flag) for flag in flags.values()))


def takes_part(peer, case):
    if case["op"] not in ("sum", "prod"):
        return False
    if peer == "cub":
        return cub_variant(case) is not None
    if peer == "cupy":
        plain = case["kind"] == "inclusive" and not case["reverse"] and case["mask"] == "none"
        return plain and case["dtype"] != "bf16"
    return True


def select_cases(options):
    command = [options.cumulus, "bench", "--list", "--cuda", "0", "--json"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    wanted = options.case or DEFAULT_CASES
    for glob in wanted:
        if not any(fnmatchcase(case["case"], glob) for case in listed):
            sys.exit(f"--case {glob}: no case has such a name: {options.cumulus} bench --list --cuda 0 names them")
    usable = [c for c in listed if c["op"] in ("sum", "prod") and not c["case"].startswith("before-hopper/")]
    chosen = {c["case"]: c for glob in wanted for c in usable if fnmatchcase(c["case"], glob)}
    return list(chosen.values())


# --- CUB -------------------------------------------------------------------------------------------------------------------------


def find_nvcc():
    roots = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)] + ["/usr/local/cuda"]
    found = shutil.which("nvcc") or next((shutil.which("nvcc", path=f"{root}/bin") for root in roots), None)
    return found


class Cub:
    """Libraries of cub_scan.cu by variant, compiled side by side into `folder`."""

    def __init__(self, nvcc, architecture, folder, variants):
        self.libraries, self.problems = {}, []

        def build(variant):
            element, *flags = variant
            library = Path(folder) / f"cub_{'_'.join(map(str, (element.replace(' ', '-'), *flags)))}.so"
            names = ("BY_ROW", "EXCLUSIVE", "REVERSE")
            macros = [f"-DELEMENT={element}", *(f"-D{name}={flag}" for name, flag in zip(names, flags, strict=True))]
            command = [nvcc, "-O3", "-std=c++17", f"-arch=sm_{architecture}", "-shared", "-Xcompiler", "-fPIC"]
            done = subprocess.run([*command, *macros, "-o", library, HERE / "cub_scan.cu"], capture_output=True, text=True)
            return ctypes.CDLL(str(library)) if done.returncode == 0 else done.stdout + done.stderr

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for variant, built in zip(variants, pool.map(build, variants), strict=True):
                if isinstance(built, str):
                    self.problems.append(f"CUB for {variant} does not compile: {built.strip()[:500]}")
                else:
                    self.libraries[variant] = built

    def version(self):
        number = next(iter(self.libraries.values())).peer_version()  # major, minor and patch in decimal places
        return f"{number // 100000}.{number // 100 % 1000}.{number % 100}"

    def call(self, torch, case, x, y):
        library = self.libraries.get(cub_variant(case))
        if library is None:
            return None
        size = ctypes.c_size_t(0)
        ends = [ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(y.data_ptr()), ctypes.c_uint(x.numel()), ctypes.c_uint(x.shape[-1])]
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)

        def scan(memory):
            error = library.peer_scan(memory, ctypes.byref(size), *ends, stream)
            if error != 0:
                raise RuntimeError(f"CUB failed with cudaError {error}")

        scan(None)
        temporary = torch.empty(max(1, size.value), dtype=torch.uint8, device="cuda")
        address = ctypes.c_void_p(temporary.data_ptr())

        def call():
            scan(address)
            return temporary  # kept

        return call


# --- Contestants -----------------------------------------------------------------------------------------------------------------


def make_tensors(torch, case):
    generator = torch.Generator("cuda").manual_seed(1)
    dtype = getattr(torch, TORCH_TYPES[case["dtype"]])
    shape = case["shape"]

    def values(dtype):
        if dtype.is_floating_point:
            low, width = (0.95, 0.1) if case["op"] == "prod" else (0, 1)
            return torch.rand(shape, generator=generator, device="cuda", dtype=dtype).mul_(width).add_(low)
        return torch.randint(0, 2 if dtype == torch.bool else 100, shape, generator=generator, device="cuda", dtype=dtype)

    out_shape = list(shape)
    out_shape[case["axis"]] += case["kind"] == "prefixes"
    mask = None if case["mask"] == "none" else values(torch.bool)
    if case["mask"] == "multiply":
        mask = mask.to(dtype)
    return values(dtype), torch.empty(out_shape, dtype=getattr(torch, TORCH_TYPES[case["out_dtype"]]), device="cuda"), mask


def cumulus_call(front, case, x, y, mask):
    scan = {"sum": front.cumsum, "prod": front.cumprod}[case["op"]]
    words = {"reverse": case["reverse"], "exclusive": case["kind"] == "exclusive", "include_initial": case["kind"] == "prefixes"}
    return lambda: scan(x, case["axis"], dtype=y.dtype, out=y, mask=mask, **words)


def cupy_call(cupy, case, x, y):
    source, target = cupy.asarray(x), cupy.asarray(y)
    scan = {"sum": cupy.cumsum, "prod": cupy.cumprod}[case["op"]]
    return lambda: scan(source, axis=case["axis"], dtype=target.dtype, out=target)


def copy_call(torch, case, x, y):
    """The driver's copy, and how many times the bytes it moves the scan moves."""
    source, target = (t.reshape(-1).view(torch.uint8) for t in (x, y))
    size = min(source.numel(), target.numel())
    source, target = source[:size], target[:size]
    return lambda: target.copy_(source), case["bytes"] / (2 * size)


# --- Measuring -------------------------------------------------------------------------------------------------------------------


class Rounds:
    def __init__(self, torch, small, flush_bytes):
        self.torch, self.small = torch, small
        self.scratch = torch.empty(flush_bytes, dtype=torch.uint8, device="cuda")
        self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def us(self, call):
        # The flush keeps the GPU busy until the host has put everything else in the stream: for some 200 us where calls are short. Else it
        # is the host that is timed.
        for _ in range(8 if self.small else 1):
            self.scratch.zero_()
        if self.small:
            call()
        self.start.record()
        call()
        self.end.record()
        self.torch.cuda.synchronize()
        return 1e3 * self.start.elapsed_time(self.end)

    def once_s(self, call):
        self.torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        self.torch.cuda.synchronize()
        return time.perf_counter() - start

    def measure(self, contestants, rounds, seconds):
        """Times by name, in microseconds: A B C A B C ..."""
        times = {name: [] for name in contestants}
        start, done = time.perf_counter(), 0
        while done < rounds or (time.perf_counter() - start < seconds and done < 1000):
            for name, call in contestants.items():
                if name == "cumulus" or done < 3 or times[name][0] < 1e6 * SLOW_S:
                    times[name].append(self.us(call))
            done += 1
        return times


def who_differs(torch, contestants, case, y):
    """Contestants must have done the same scan. Compared where it begins (an end of each row): f32 sums of others drift away."""
    axis, length = case["axis"], y.shape[case["axis"]]
    count = min(1000, length)
    tolerance = 5e-2 if case["dtype"] in ("f16", "bf16") else 1e-3
    found = {}
    for name, call in contestants.items():
        y.zero_()
        returned = call()
        result = returned if name == "torch.compile" else y
        begin = result.narrow(axis, length - count if case["reverse"] else 0, count)
        found[name] = begin.movedim(axis, -1).reshape(-1, count)[:4].double().cpu().clone()
    return [name for name, result in found.items() if not torch.allclose(result, found["cumulus"], rtol=tolerance, atol=1e-3)]


def contestants_of(tools, case, x, y, mask):
    torch = tools.torch
    made = {
        "cumulus": lambda: cumulus_call(tools.front, case, x, y, mask),
        "torch": lambda: eager_call(torch, case, x, y, mask),
        "torch.compile": lambda: compiled_call(torch, case, x, y, mask),
        "cub": lambda: tools.cub.call(torch, case, x, y) if tools.cub else None,
        "cupy": lambda: cupy_call(tools.cupy, case, x, y) if tools.cupy else None,
    }
    return {name: make for name, make in made.items() if name == "cumulus" or (name in tools.peers and takes_part(name, case))}


def try_out(contestants, rounds):
    """Compiles; the contestants that are quick enough for rounds; the times of others; why somebody is in only one of them, or none."""
    quick, slow, notes = {}, {}, {}
    for name, make in contestants.items():
        if any(seconds > HOPELESS_S for seconds in slow.values()):
            notes[name] = "not tried: another peer took " + ", ".join(f"{seconds:.0f} s" for seconds in slow.values())
            continue
        try:
            call = make()
            if call is None:
                continue
            seconds = rounds.once_s(call)
            if TOO_SLOW_S < seconds <= HOPELESS_S or name == "torch.compile":
                seconds = rounds.once_s(call)  # without what the first one compiled
        except Exception as error:  # out of memory, a compiler that gives up: the others still take part
            if name == "cumulus":
                raise
            notes[name] = f"{type(error).__name__}: {str(error).strip()[:200]}"
            continue
        if seconds > TOO_SLOW_S:
            slow[name], notes[name] = seconds, f"measured once: a call takes {seconds:.1f} s"
        else:
            quick[name] = call
    return quick, slow, notes


def measure_case(tools, case, options):
    torch = tools.torch
    x, y, mask = make_tensors(torch, case)
    rounds = Rounds(torch, case["bytes"] <= tools.l2 // 4, 2 * tools.l2)
    contestants, slow, notes = try_out(contestants_of(tools, case, x, y, mask), rounds)
    for name in who_differs(torch, contestants, case, y):
        notes[name] = "left out: its result differs from Cumulus's"
        del contestants[name]
    copy, share = copy_call(torch, case, x, y)
    times = rounds.measure({**contestants, "memcpy": copy}, options.rounds, options.min_time)
    times.update((name, [1e6 * seconds]) for name, seconds in slow.items())
    median = {name: statistics.median(values) for name, values in times.items()}
    ordered = sorted(times["cumulus"])
    low, high = (ordered[round(p * (len(ordered) - 1))] for p in (0.1, 0.9))
    copy_us = share * median["memcpy"]
    return {
        **case,
        "source": "bench/gpu_peers.py",
        "device": "cuda",
        "median_us": median["cumulus"],
        "spread": (high - low) / median["cumulus"],
        "rounds": len(ordered),
        "gbps": case["bytes"] / median["cumulus"] / 1e3,
        "ratio_memcpy": copy_us / median["cumulus"],
        "ratio_copy": None,  # as in peers.py: a report shows the one of `cumulus bench`
        "copy_us": copy_us,
        "peers": {name: us for name, us in median.items() if name not in ("cumulus", "memcpy")},
        "notes": notes,
        "versions": tools.versions,
        "commit": options.commit,
        "machine": tools.machine,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "version": tools.version,
    }


class Tools:
    """The libraries that take part, the GPU, and what is to be said about them."""

    def __init__(self, options, cases, folder):
        import torch

        if options.wheel:
            zipfile.ZipFile(options.wheel).extractall(Path(folder) / "wheel")
            sys.path.insert(0, str(Path(folder) / "wheel"))
        try:
            import cumulus
            import cumulus.torch as front
        except ImportError as error:
            sys.exit(f"no Python package cumulus ({error}): install it, or give --wheel FILE (scripts/test_python makes one)")
        if not torch.cuda.is_available():
            sys.exit("PyTorch sees no CUDA device: run this on a machine with a GPU, or --dry-run")
        self.torch, self.front, self.version = torch, front, cumulus.__version__
        self.peers = options.peer or PEERS
        properties = torch.cuda.get_device_properties(0)
        self.machine = {"gpu": properties.name, "sms": properties.multi_processor_count}
        self.l2 = properties.L2_cache_size
        self.versions = {"torch": torch.__version__}
        self.cub = self.make_cub(f"{properties.major}{properties.minor}", cases, folder)
        self.cupy = self.import_cupy()

    def make_cub(self, architecture, cases, folder):
        nvcc = find_nvcc()
        if "cub" not in self.peers or not nvcc:
            print("CUB is left out: " + ("--peer" if nvcc else "no nvcc"))
            return None
        variants = sorted({variant for variant in map(cub_variant, cases) if variant})
        cub = Cub(nvcc, architecture, folder, variants)
        print("\n".join(cub.problems), end="\n" if cub.problems else "")
        if cub.libraries:
            self.versions["cub"] = cub.version()
        return cub

    def import_cupy(self):
        try:
            import cupy
        except ImportError as error:
            print(f"CuPy is left out: {error}")
            return None
        self.versions["cupy"] = cupy.__version__
        return cupy


# --- The command -----------------------------------------------------------------------------------------------------------------


def line(result):
    """A case: of the copy, for everybody; and the fastest peer's time in Cumulus's."""
    peers, copy_us = result["peers"], result["copy_us"]
    of_copy = {name: f"{copy_us / us:.3f}" for name, us in peers.items()}
    cells = "".join(f"{of_copy.get(name, ''):>14}" for name in PEERS)
    fastest = min(peers, key=peers.get, default=None)
    times = f"{peers[fastest] / result['median_us']:8.2f}x {fastest}" if fastest else ""
    return f"{result['case']:<30} {result['median_us']:>11.1f} {result['ratio_memcpy']:>8.3f} {cells} {times}"


def write(results, path):
    if path:
        path.write_text("[\n" + ",\n".join(json.dumps(result) for result in results) + "\n]\n")


def dry_run(cases):
    for case in cases:
        print(f"{case['case']:<30} {', '.join(peer for peer in PEERS if takes_part(peer, case))}")
    print(f"{len(cases)} cases, {len({v for v in map(cub_variant, cases) if v})} variants of CUB to compile")


def run(options, cases, folder):
    tools = Tools(options, cases, folder)
    print(f"{'case':<30} {'cumulus us':>11} {'of copy':>8} " + "".join(f"{name:>14}" for name in PEERS) + "  fastest peer / cumulus")
    results, end = [], time.monotonic() + options.time_limit
    for number, case in enumerate(cases):
        if time.monotonic() > end:
            print(f"--time-limit {options.time_limit:g} s: {len(cases) - number} cases are left out, from {case['case']} on")
            break
        results.append(measure_case(tools, case, options))
        print(line(results[-1]), flush=True)
        for name, note in results[-1]["notes"].items():
            print(f"    {name}: {note}")
        write(results, options.json)
        tools.torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = next((path for path in BINARIES if path.exists()), BINARIES[-1])
    parser.add_argument(
        "--cumulus", default=os.environ.get("CUMULUS_BINARY", default), help="the command-line program, which has the cases"
    )
    parser.add_argument("--wheel", default=os.environ.get("WHEEL"), metavar="FILE", help="of the Python package, where it is not installed")
    parser.add_argument("--case", action="append", metavar="GLOB", help=f"repeatable; default: {' '.join(DEFAULT_CASES)}")
    parser.add_argument("--peer", action="append", choices=PEERS, help="repeatable; default: all")
    parser.add_argument("--rounds", type=int, default=7, help="at least")
    parser.add_argument("--min-time", type=float, default=0.2, metavar="S", help="seconds at least per case")
    parser.add_argument("--time-limit", type=float, default=530, metavar="S", help="no case begins after it")
    parser.add_argument("--commit", default=os.environ.get("CUMULUS_COMMIT", ""), metavar="HASH")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: none")
    parser.add_argument("--dry-run", action="store_true", help="list the cases and who takes part; no GPU, no PyTorch")
    options = parser.parse_args()
    cases = select_cases(options)
    if options.dry_run:
        return dry_run(cases)
    with tempfile.TemporaryDirectory() as folder:
        run(options, cases, folder)


if __name__ == "__main__":
    main()
