"""The table: eager torch, torch.compile, Cumulus and any peers on KernelBench's scans, each checked and timed by KernelBench's rules."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import cumulus

from .evaluate import COMPILE, COPY, DTYPES, EAGER, TOLERANCES, WARM_UPS, Job, Outcome
from .problems import DIM, PROBLEMS, RULES, Problem

CUMULUS = "cumulus"
CUDA_SIZE, CPU_SIZE = 32768, 2048
# Of the input's size, what a trial needs on the device: x, a mask, the expected result, a temporary and the candidate's result; and slack.
TENSORS_AT_ONCE = 5.5

EPILOG = """A peer is a Python file with a class ModelNew, or a task document whose code stands under the line [CURRENT CODE].
Every peer runs in a process of its own; whatever becomes of it is a row of the table.
Exit status: 0 if all of Cumulus's results are correct, 1 if one is not, 2 if the command line is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parse(arguments)
    if os.getloadavg()[0] >= 1:
        print(f"the load average is {os.getloadavg()[0]:.0f}: figures from a busy machine mean little", file=sys.stderr)
    records: list[dict[str, Any]] = []
    for problem in (PROBLEMS[name] for name in options.problem):
        outcomes = [outcome for job in _jobs(problem, options) for outcome in _run(job, options.timeout)]
        print(_table(problem, outcomes, options), flush=True)
        records += _records(problem, outcomes, options)
        if options.json:
            _write(options.json, records)  # after each problem, so that an interrupted run leaves what it has
    return 0 if all(record["correct"] for record in records if record["candidate"] == CUMULUS) else 1


# --- The command line ------------------------------------------------------------------------------------------------------------


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cumulus.kernelbench",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--problem", nargs="+", choices=PROBLEMS, default=list(PROBLEMS), metavar="NAME", help=f"of {', '.join(PROBLEMS)}; all"
    )
    parser.add_argument(
        "--size", type=_size, metavar="N|RxC", help=f"shape (N, N) or (R, C); {CUDA_SIZE} on CUDA if it fits, {CPU_SIZE} on the CPU"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="f32", help="of x and of a multiplying mask; f32")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="cuda where there is one")
    parser.add_argument(
        "--peer", nargs="+", action="extend", type=_peer, default=[], metavar="[NAME=]FILE", help="for problem NAME; for all"
    )
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--trials", type=_positive, default=100, metavar="N", help="timings of each candidate; 100")
    parser.add_argument("--timeout", type=_positive, default=900, metavar="S", help="seconds a process may take; 900")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every figure there")
    parser.add_argument("--commit", default="", metavar="HASH", help="commit to name in the JSON")
    options = parser.parse_args(arguments)

    options.problem = list(dict.fromkeys(options.problem))
    if options.device is None:
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device; `cumulus doctor` tells what is missing, --device cpu runs without")
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: there is no folder {options.json.parent}")
    if options.size is None:
        options.size = _default_size(options)
    return options


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    shape = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(shape) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; N or RxC, each at least 2: 2048, 1000x4099")
    return shape


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _peer(text: str) -> tuple[str | None, Path]:
    name, equals, file = text.partition("=")
    problem, path = (name, Path(file)) if equals and name in PROBLEMS else (None, Path(text))
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {str(path)!r}; FILE or NAME=FILE, NAME one of {', '.join(PROBLEMS)}")
    return problem, path


def _default_size(options: argparse.Namespace) -> tuple[int, int]:
    if options.device == "cpu":
        return CPU_SIZE, CPU_SIZE
    free, _ = torch.cuda.mem_get_info()
    size = CUDA_SIZE
    while TENSORS_AT_ONCE * size * size * DTYPES[options.dtype].itemsize > free:
        size //= 2
    if size < CUDA_SIZE:
        print(f"{free / 2**30:.1f} GiB of GPU memory are free: size {size} instead of {CUDA_SIZE}; --size sets another")
    return size, size


# --- Processes -------------------------------------------------------------------------------------------------------------------


def _jobs(problem: Problem, options: argparse.Namespace) -> list[Job]:
    """torch and Cumulus in one process, which draws the inputs once for them; each peer in its own, so that it can harm itself alone."""

    def job(candidates: dict[str, str], copy: bool = False) -> Job:
        return Job(problem.name, options.size, options.dtype, options.device, options.trials, candidates, copy)

    own = {EAGER: "", COMPILE: "", CUMULUS: str(problem.path)}
    if options.no_compile:
        del own[COMPILE]
    peers = [path for name, path in options.peer if name in (None, problem.name)]
    return [job(own, copy=True), *(job({path.stem: str(path)}) for path in peers)]


def _run(job: Job, timeout: int) -> list[Outcome]:
    """The job's outcomes from a new process; when that ends without any, outcomes that say how it ended."""
    if sys.stderr.isatty():
        print(f"problem {job.problem}: {', '.join(job.candidates)} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        job_file, result, log = (Path(folder, name) for name in ("job.json", "result.json", "log"))
        job_file.write_text(json.dumps(asdict(job)), encoding="utf-8")
        with log.open("w") as output:
            # A session of its own, because compilers leave helpers behind that have to end with it.
            process = subprocess.Popen(
                [sys.executable, "-m", "cumulus.kernelbench.evaluate", str(job_file), str(result)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                ended = _ending(process.wait(timeout))
            except subprocess.TimeoutExpired:
                ended = f"took more than {timeout} s; --timeout allows more"
            finally:
                _end_session(process)
        if result.is_file():
            return [Outcome(**fields) for fields in json.loads(result.read_text(encoding="utf-8"))]
        last = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()][-1:]
        return [Outcome(name, "failed", ": ".join([ended, *last])) for name in job.candidates]


def _ending(status: int) -> str:
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"its process ended with {how} and no result"


def _end_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # nothing of it is left
        pass
    process.wait()


# --- Reporting -------------------------------------------------------------------------------------------------------------------


def _table(problem: Problem, outcomes: list[Outcome], options: argparse.Namespace) -> str:
    eager, copy = (_mean_ms(outcomes, name) for name in (EAGER, COPY))
    width = max(len(outcome.name) for outcome in outcomes)
    machine = ", ".join(f"{key} {value}" for key, value in _machine(options.device).items())
    lines = [
        f"\n{problem.name} {problem.title}: {options.size[0]} x {options.size[1]} {options.dtype}, axis {DIM}; {machine}",
        f"mean of {options.trials} after {WARM_UPS} warm-ups, caches flushed before each, by {_clock(options)}",
        f"  {'':<{width}} {'ms':>10} {'vs eager':>9} {'of copy':>8}  {'correct':<8} {'difference':>11} {'error':>10}",
    ]
    for outcome in outcomes:
        ms = _mean_ms([outcome], outcome.name)
        ratios = f"{_text(ms, '10.4f')} {_text(_ratio(eager, ms), '8.2f', 'x')} {_text(_ratio(copy, ms), '8.2f')}"
        if outcome.name == COPY:
            lines.append(f"  {outcome.name:<{width}} {ratios}")
        elif outcome.status == "correct":
            lines.append(f"  {outcome.name:<{width}} {ratios}  {'yes':<8} {outcome.max_difference:>11.2e} {outcome.max_error:>10.2e}")
        else:
            lines.append(f"  {outcome.name:<{width}} {ratios}  no: {outcome.message}")
    return "\n".join(lines)


def _records(problem: Problem, outcomes: list[Outcome], options: argparse.Namespace) -> list[dict[str, Any]]:
    eager, copy = (_mean_ms(outcomes, name) for name in (EAGER, COPY))
    size = problem.bytes(options.size, DTYPES[options.dtype])
    common = {
        "case": f"kernelbench/{problem.name}",
        "op": problem.op,
        "kind": problem.kind,
        "dtype": options.dtype,
        "out_dtype": options.dtype,
        "shape": list(options.size),
        "axis": DIM,
        "reverse": problem.reverse,
        "mask": problem.mask,
        "layout": "contiguous",
        "bytes": size,
        "source": "cumulus.kernelbench",
        "device": options.device,
        "threads": torch.get_num_threads(),
        "rules": RULES,
        "clock": _clock(options),
        "tolerance": TOLERANCES[options.dtype],
        "copy_us": _finite(1e3 * copy),
        "commit": options.commit,
        "machine": _machine(options.device),
        "date": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
        "version": cumulus.__version__,
        "torch": torch.__version__,
    }
    records = []
    for outcome in outcomes:
        if outcome.name == COPY:
            continue
        ms, times = _mean_ms([outcome], outcome.name), outcome.times_ms
        figures = {
            "candidate": outcome.name,
            "status": outcome.status,
            "correct": outcome.status == "correct",
            "message": outcome.message,
            "max_difference": _finite(outcome.max_difference),
            "max_error": _finite(outcome.max_error),
            "mean_us": _finite(1e3 * ms),
            "median_us": 1e3 * statistics.median(times) if times else None,
            "spread": _spread(times),
            "rounds": len(times),
            "calls": 1,
            "gbps": _finite(_ratio(size / 1e6, ms)),
            "ratio_copy": _finite(_ratio(copy, ms)),
            "ratio_eager": _finite(_ratio(eager, ms)),
            "times_ms": times,
        }
        records.append({**common, **figures})
    return records


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(record, allow_nan=False) for record in records)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _mean_ms(outcomes: list[Outcome], name: str) -> float:
    """nan where the candidate was not timed."""
    times = next((outcome.times_ms for outcome in outcomes if outcome.name == name), [])
    return statistics.fmean(times) if times else math.nan


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else math.nan


def _spread(times: list[float]) -> float | None:
    """(90th - 10th percentile) / median, as `cumulus bench` has it; None below two timings."""
    if len(times) < 2:
        return None
    tenths = statistics.quantiles(times, n=10, method="inclusive")
    return (tenths[-1] - tenths[0]) / statistics.median(times)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(value: float, form: str, unit: str = "") -> str:
    return f"{value:{form}}{unit}" if math.isfinite(value) else f"{'-':>{int(form.split('.')[0]) + len(unit)}}"


def _clock(options: argparse.Namespace) -> str:
    return "CUDA events" if options.device == "cuda" else "perf_counter (KernelBench itself times GPUs only)"


def _machine(device: str) -> dict[str, Any]:
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        return {"gpu": gpu.name, "sms": gpu.multi_processor_count}
    return {"cpu": _cpu_model(), "cores": len(os.sched_getaffinity(0))}


def _cpu_model() -> str:
    match = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else "unknown"
