#!/usr/bin/env python3
"""Cumulus beside NumPy and PyTorch: the cases of `cumulus bench`, all three in one process, in interleaved rounds.

    bench/peers.py --cumulus build/release/cumulus --library build/release/libcumulus.so --json peers.json

Every contestant reads the same array and writes the same preallocated one (out=). PyTorch is left out, with a line that says
so, where it is not installed. Paths may also come from CUMULUS_BINARY and CUMULUS_LIBRARY. The JSON has the form of
`cumulus bench --json`; ratio_memcpy is against one thread of numpy.copyto moving as many bytes, ratio_copy is null.
"""

import argparse
import ctypes
import json
import mmap
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import numpy as np
from torch_calls import eager_call

try:
    import torch
except ImportError:
    torch = None

INCLUSIVE, EXCLUSIVE, PREFIXES = 0, 1, 2
KINDS = {"inclusive": INCLUSIVE, "exclusive": EXCLUSIVE, "prefixes": PREFIXES}
OPS = {"sum": 0, "prod": 1, "max": 2, "min": 3}
DTYPES = {"f16": (1, np.float16), "f32": (3, np.float32), "f64": (4, np.float64), "i32": (7, np.int32), "i64": (8, np.int64)}
BOOL = 13
REVERSE = 1
DEFAULT_CASES = ["workload/*", "rows/*", "columns/*", "cache/*", "mask/*", "inner/*", "short/*", "strides/*", "1d/2^2?"]
SLOW_S = 0.25  # slower contestants take part in three rounds only
BATCH_S = 200e-6  # a timing takes at least this long
REST_S = 0.02  # before each timing: a library's idle threads spin on for milliseconds after its call, on cores that the next needs
HUGE_PAGE = 2 << 20


# --- libcumulus through its C interface ------------------------------------------------------------------------------------------


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("rank", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("device", ctypes.c_int32),
        ("device_index", ctypes.c_int32),
    ]


class ScanArgs(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("op", ctypes.c_int32),
        ("kind", ctypes.c_int32),
        ("axis", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("threads", ctypes.c_int32),
        ("stream", ctypes.c_void_p),
        ("in_", Tensor),
        ("in2", Tensor),
        ("out", Tensor),
        ("mask", Tensor),
        ("initial", Tensor),
        ("total", Tensor),
    ]


def load_library(path):
    library = ctypes.CDLL(path)
    library.cumulus_scan.argtypes = [ctypes.POINTER(ScanArgs)]
    for function in ("cumulus_last_error", "cumulus_simd_target", "cumulus_version"):
        getattr(library, function).restype = ctypes.c_char_p
    return library


def tensor_of(array, dtype):
    values = ctypes.c_int64 * array.ndim
    strides = [stride // array.itemsize for stride in array.strides]
    return Tensor(array.ctypes.data, values(*array.shape), values(*strides), array.ndim, dtype, 0, 0)


def cumulus_call(library, case, arrays, threads):
    x, y, mask = arrays
    args = ScanArgs(struct_size=ctypes.sizeof(ScanArgs), op=OPS[case["op"]], kind=KINDS[case["kind"]], axis=case["axis"])
    args.flags = REVERSE if case["reverse"] else 0
    args.threads = threads
    args.in_ = tensor_of(x, DTYPES[case["dtype"]][0])
    args.out = tensor_of(y, DTYPES[case["out_dtype"]][0])
    if mask is not None:
        args.mask = tensor_of(mask, BOOL if mask.dtype == bool else DTYPES[case["dtype"]][0])
    pointer = ctypes.pointer(args)
    keep = (args, arrays)

    def call():
        if library.cumulus_scan(pointer) != 0:
            raise RuntimeError(f"{case['case']}: {library.cumulus_last_error().decode()}")
        return keep

    return call


# --- The same scan in NumPy and PyTorch -------------------------------------------------------------------------------------------


def part(array, axis, start, stop):
    index = [slice(None)] * array.ndim
    index[axis] = slice(start, stop)
    return array[tuple(index)]


def numpy_call(case, arrays):
    """One call of NumPy; views flip without a copy. An exclusive scan is the inclusive one of all but the last element."""
    x, y, mask = arrays
    axis = case["axis"]
    scan = {"sum": np.cumsum, "prod": np.cumprod, "max": np.maximum.accumulate, "min": np.minimum.accumulate}[case["op"]]
    product = np.empty_like(x) if mask is not None else None
    first = 1 if case["op"] == "prod" else 0

    def call():
        source, target = x, y
        if mask is not None:
            source = np.multiply(x, mask, out=product)
        if case["reverse"]:
            source, target = np.flip(source, axis), np.flip(target, axis)
        if case["kind"] != "inclusive":
            part(target, axis, 0, 1)[...] = first
            target = part(target, axis, 1, None)
        if case["kind"] == "exclusive":
            source = part(source, axis, 0, -1)
        scan(source, axis=axis, dtype=y.dtype, out=target)

    return call


def torch_call(case, arrays):
    return eager_call(torch, case, *(None if a is None else torch.from_numpy(a) for a in arrays))


# --- Measuring ------------------------------------------------------------------------------------------------------------------


def touched(shape, dtype):
    """An array of zeros on huge pages where the system has them, like those of `cumulus bench`; its pages are there already."""
    count = int(np.prod(shape, dtype=np.int64))
    memory = mmap.mmap(-1, -(-max(1, count * np.dtype(dtype).itemsize) // HUGE_PAGE) * HUGE_PAGE)
    memory.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(memory, dtype, count).reshape(shape)
    array.fill(0)
    return array


def make_arrays(case):
    random = np.random.default_rng(1)
    shape = case["shape"]
    dtype = DTYPES[case["dtype"]][1]

    def values(size):
        if np.issubdtype(dtype, np.integer):
            return random.integers(-100, 100, size, dtype)
        low, width = (0.95, 0.1) if case["op"] == "prod" else (0, 1)
        array = touched(size, dtype)
        if dtype == np.float32:
            random.random(out=array, dtype=dtype)
        else:
            array[...] = random.random(size)
        return np.add(np.multiply(array, width, out=array), low, out=array)

    if case["layout"] == "transposed":
        x = values(shape[::-1]).T
    elif case["layout"] == "every_second":
        x = values([*shape[:-1], 2 * shape[-1]])[..., ::2]
    else:
        x = values(shape)
    out_shape = list(shape)
    out_shape[case["axis"]] += case["kind"] == "prefixes"
    y = touched(out_shape, DTYPES[case["out_dtype"]][1])
    mask = None
    if case["mask"] != "none":
        mask = random.integers(0, 2, shape, np.uint8).view(bool)
        mask = mask if case["mask"] == "select" else mask.astype(dtype)
    return x, y, mask


def memcpy_call(case):
    half = case["bytes"] // 2
    source, target = touched([half], np.uint8), touched([half], np.uint8)
    return lambda: np.copyto(target, source)


def time_s(call, calls):
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def measure(contestants, rounds, seconds):
    """Times of every contestant, in seconds per call: A B C A B C ..."""
    calls = {}
    for name, call in contestants.items():
        time_s(call, 1)
        once = time_s(call, 1)
        calls[name] = max(1, round(BATCH_S / max(once, 1e-9)))
    times = {name: [] for name in contestants}
    start = time.perf_counter()
    done = 0
    while done < rounds or (time.perf_counter() - start < seconds and done < 1000):
        for name, call in contestants.items():
            if name == "cumulus" or done < 3 or times[name][0] < SLOW_S:
                time.sleep(REST_S)
                call()  # its own threads awake again
                times[name].append(time_s(call, calls[name]))
        done += 1
    return times


def measure_case(library, case, options):
    arrays = make_arrays(case)
    contestants = {
        "cumulus": cumulus_call(library, case, arrays, options.threads),
        "memcpy": memcpy_call(case),
        "numpy": numpy_call(case, arrays),
    }
    if torch is not None:
        contestants["torch"] = torch_call(case, arrays)
    contestants = {name: call for name, call in contestants.items() if call is not None}
    check(contestants, case, arrays[1])
    times = measure(contestants, options.rounds, options.min_time)
    median = {name: 1e6 * float(np.median(values)) for name, values in times.items()}
    low, high = np.percentile(times["cumulus"], [10, 90])
    return {
        **case,
        "source": "bench/peers.py",
        "device": "cpu",
        "threads": options.threads,
        "simd": library.cumulus_simd_target().decode(),
        "median_us": median["cumulus"],
        "spread": 1e6 * (high - low) / median["cumulus"],
        "rounds": len(times["cumulus"]),
        "gbps": case["bytes"] / median["cumulus"] / 1e3,
        "ratio_memcpy": median["memcpy"] / median["cumulus"],
        "ratio_copy": None,
        "peers": {name: us for name, us in median.items() if name not in ("cumulus", "memcpy")},
        "peer_versions": {"numpy": np.__version__, **({"torch": torch.__version__} if torch is not None else {})},
        "commit": options.commit,
        "machine": machine(options.cumulus),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "version": library.cumulus_version().decode(),
    }


def check(contestants, case, y):
    """Contestants must have done the same scan. Compared where it begins (an end of the array): NumPy's and PyTorch's f32
    sums of long arrays drift away, NumPy's stands still at 2^24."""
    begin = slice(-1000, None) if case["reverse"] else slice(1000)
    results = {}
    for name, call in contestants.items():
        if name != "memcpy":
            y.fill(0)
            call()
            results[name] = y.reshape(-1)[begin].astype(np.float64)
    for name, result in results.items():
        if not np.allclose(result, results["cumulus"], rtol=1e-3, atol=1e-3):
            print(f"{case['case']}: {name} and cumulus differ", file=sys.stderr)


# --- The command ----------------------------------------------------------------------------------------------------------------


def machine(cumulus, _cache={}):  # noqa: B006
    if not _cache:
        device = json.loads(subprocess.run([cumulus, "device", "--json", "--no-measure"], check=True, capture_output=True).stdout)
        _cache.update(cpu=device["model"], cores=device["cores"], l2=device["l2"], l3=device["l3"])
    return _cache


def select_cases(options):
    listed = json.loads(subprocess.run([options.cumulus, "bench", "--list", "--json"], check=True, capture_output=True).stdout)
    wanted = options.case or DEFAULT_CASES
    # max and min propagate NaN as NumPy does; f16 rounds every step there. The recurrence has no peer.
    usable = [c for c in listed if c["op"] in OPS and c["dtype"] in DTYPES and c["out_dtype"] in DTYPES]
    return [c for c in usable if any(fnmatchcase(c["case"], glob) for glob in wanted) and c["bytes"] <= options.max_mib << 20]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cumulus", default=os.environ.get("CUMULUS_BINARY", "build/release/cumulus"), help="the command-line program")
    parser.add_argument("--library", default=os.environ.get("CUMULUS_LIBRARY", "build/release/libcumulus.so"), help="libcumulus.so")
    parser.add_argument("--case", action="append", metavar="GLOB", help=f"repeatable; default: {' '.join(DEFAULT_CASES)}")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=7, help="at least")
    parser.add_argument("--min-time", type=float, default=0.5, metavar="S", help="seconds at least per case")
    parser.add_argument("--max-mib", type=int, default=1 << 30, help="leave out cases that move more MiB")
    parser.add_argument("--commit", default="", metavar="HASH")
    parser.add_argument("--json", metavar="FILE", help="default: none")
    options = parser.parse_args()

    if torch is None:
        print("PyTorch is not installed: torch is left out")
    else:
        torch.set_num_threads(options.threads)
    library = load_library(os.path.abspath(options.library))
    results = []
    print(f"{'case':<28} {'cumulus us':>12} {'numpy':>8} {'torch':>8}   (times the time of cumulus)")
    for case in select_cases(options):
        result = measure_case(library, case, options)
        results.append(result)
        factor = {name: f"{us / result['median_us']:.1f}x" for name, us in result["peers"].items()}
        print(f"{case['case']:<28} {result['median_us']:>12.1f} {factor.get('numpy', ''):>8} {factor.get('torch', ''):>8}", flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
