"""Results as `cumulus bench --cuda` and bench/gpu_peers.py write them, with figures that are nobody's."""

_COMMON = {"source": "cumulus bench", "device": "cuda", "commit": "abc", "date": "2026-01-02T03:04Z", "version": "0.1.0"}
_MACHINE = {"gpu": "NVIDIA Example", "sms": 132}


def case(name, us, **fields):
    scan = {"op": "sum", "kind": "inclusive", "dtype": "f32", "out_dtype": "f32", "shape": [1 << 20], "axis": 0, "reverse": False}
    figures = {"median_us": us["scan"], "ms": us["scan"] / 1e3, "graph_ms": us["graph"] / 1e3, "spread": 0.01, "rounds": 15, "gbps": 4000.0}
    ratios = {"ratio_copy": us["memcpy"] / us["scan"], "yardstick": "memcpy", "ratio_yardstick": us["memcpy"] / us["scan"]}
    rest = {"floor_us": 2.0, "ratio_floor": 2.0 / us["scan"], "host_ratio": None, "us": us, "peers": {}, "machine": _MACHINE}
    said = {"capability": 90, "kernel": "rows", "status": "correct", "message": "", "to_reach": None, "to_reach_us": None, "bytes": 8 << 20}
    return {"case": name, **scan, **_COMMON, **said, **figures, **ratios, **rest, **fields}


def bench_results():
    large = {"scan": 2000.0, "memcpy": 1900.0, "copy_kernel": 1950.0, "graph": 1990.0}
    small = {**large, "scan": 8.0, "memcpy": 6.0, "graph": 4.5, "memcpy_graph": 2.0, "empty": 3.9, "empty_graph": 0.5}
    small.update(burst=5.0, empty_burst=2.5, host=3.0, empty_host=2.0)
    masked = {**large, "multiply_kernel": 1980.0}
    failed = case("rows/broken", large, status="failed", message="cuMemAlloc failed")
    for key in ("median_us", "us", "graph_ms", "ratio_copy"):
        del failed[key]
    return [
        case("workload/89-cumsum", large, to_reach=0.97),
        case("workload/93-mask-f32", masked, to_reach=0.96, yardstick="multiply_kernel", ratio_yardstick=0.99),
        case("small/2^20", small, to_reach_us=8.5, host_ratio=1.5),
        failed,
        first_call("compiler", 120_000.0, 150_000),
        first_call("disk-cache", 6_000.0, 5_000),
    ]


def first_call(source, us, to_reach_us):
    scan = {"op": "sum", "kind": "inclusive", "dtype": "f32", "out_dtype": "f32", "shape": [8, 8], "axis": 1, "reverse": False}
    times = {"median_us": us, "spread": 0.1, "rounds": 5, "times_us": [us] * 5, "to_reach_us": to_reach_us}
    return {"case": f"first-call/workload/89-cumsum/{source}", **scan, **_COMMON, **times, "peers": {}, "machine": _MACHINE}


def peer_results():
    result = case("workload/89-cumsum", {"scan": 2010.0, "memcpy": 1900.0, "graph": 2000.0})
    result.update(ratio_memcpy=1900 / 2010, ratio_copy=None)
    result.update(source="bench/gpu_peers.py", copy_us=1900.0, peers={"torch": 4500.0, "cub": 2700.0}, notes={}, versions={"torch": "2.11"})
    return [result]
