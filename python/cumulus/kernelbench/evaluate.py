"""Candidates checked and timed by KernelBench's rules, in a process of their own: `python -m cumulus.kernelbench.evaluate JOB RESULT`.

The rules: five trials whose seeds come from seed 42, inputs drawn on the CPU, shapes equal, allclose with one tolerance for absolute and
relative error; then, with the inputs of seed 42, three warm-ups, one timing thrown away, and the mean of 100, caches flushed before each.
A candidate that raises is a result that says so. One that ends the process takes its job with it; the runner sees to that.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .loading import load_model
from .problems import DIM, PROBLEMS, Problem

SEED = 42
CORRECTNESS_TRIALS = 5
WARM_UPS = 3
DISCARDED = 1
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
TOLERANCES = {"f32": 1e-4, "f16": 1e-2, "bf16": 1e-2}
FLUSH_BYTES = 256 << 20  # what KernelBench writes before each timing: more than any GPU's L2 cache
REST_S = 0.02  # on the CPU, after the flush: torch's idle threads spin on for milliseconds, on cores that the next call needs
ERROR_ROWS = 64  # rows whose error against float64 is looked at
SLICE = 1 << 24  # elements compared at a time, so that comparing needs little memory

COPY, EAGER, COMPILE = "copy", "eager", "torch.compile"

Call = Callable[..., Tensor]


@dataclass(frozen=True)
class Job:
    """What one process is to do. candidates: name -> file, or "" for `eager` and `torch.compile`. With `copy`, a copy is timed as well."""

    problem: str
    shape: tuple[int, int]
    dtype: str
    device: str
    trials: int
    candidates: dict[str, str]
    copy: bool = False


@dataclass
class Outcome:
    """How a candidate did. status: "correct", "wrong" or "failed"; a copy is "timed"."""

    name: str
    status: str = "correct"
    message: str = ""
    max_difference: float = 0.0  # from eager torch, over all trials
    max_error: float = 0.0  # from the formula in float64, over ERROR_ROWS rows of the first trial
    times_ms: list[float] = field(default_factory=list)


def trial_seeds() -> list[int]:
    """KernelBench's seeds of the correctness trials."""
    torch.manual_seed(SEED)
    return [int(torch.randint(0, 2**32 - 1, (1,)).item()) for _ in range(CORRECTNESS_TRIALS)]


def evaluate(job: Job, folder: Path) -> list[Outcome]:
    """Loads, checks and times the job's candidates, in their order. `folder` keeps the files they are imported from."""
    problem = PROBLEMS[job.problem]
    outcomes = [Outcome(name) for name in job.candidates]
    calls: dict[str, Call] = {}

    for outcome in outcomes:
        with _failure_noted_in(outcome):
            calls[outcome.name] = _build(problem, job, outcome.name, folder)

    for trial, seed in enumerate(trial_seeds()):
        inputs = _inputs(problem, job, seed)
        with torch.no_grad():
            expected = problem.formula(*inputs, DIM)
            exact = _exact_rows(problem, inputs) if trial == 0 else None
            for outcome in outcomes:
                if outcome.status == "correct":
                    with _failure_noted_in(outcome):
                        _check(outcome, calls[outcome.name](*inputs), expected, exact, TOLERANCES[job.dtype])
        del inputs, expected, exact

    inputs = _inputs(problem, job, SEED)
    for outcome in outcomes:
        if outcome.status == "correct":
            with _failure_noted_in(outcome):
                outcome.times_ms = time_calls(partial(calls[outcome.name], *inputs), job.device, job.trials)
    if job.copy:
        source = torch.zeros(problem.bytes(job.shape, DTYPES[job.dtype]) // 2, dtype=torch.uint8, device=job.device)
        outcomes.insert(0, Outcome(COPY, "timed", times_ms=time_calls(source.clone, job.device, job.trials)))
    return outcomes


@contextmanager
def _failure_noted_in(outcome: Outcome) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        outcome.status, outcome.message = "failed", f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    """Of its message; of an error without one, such as a bare assert, the line of code that raised it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else str(traceback.extract_tb(error.__traceback__)[-1].line)


def _build(problem: Problem, job: Job, name: str, folder: Path) -> Call:
    def formula(*inputs: Tensor) -> Tensor:
        return problem.formula(*inputs, DIM)

    if name == EAGER:
        return formula
    if name == COMPILE:
        compiled: Call = torch.compile(formula)
        return compiled
    model = load_model(Path(job.candidates[name]), folder)(DIM)
    built: Call = model.to(device=job.device, dtype=DTYPES[job.dtype])
    return built


def _inputs(problem: Problem, job: Job, seed: int) -> list[Tensor]:
    torch.manual_seed(seed)
    return problem.inputs(job.shape, DTYPES[job.dtype], job.device)


def _exact_rows(problem: Problem, inputs: list[Tensor]) -> Tensor:
    """The formula in float64, of the first rows alone: along axis 1 rows do not depend on each other."""
    rows = [x[:ERROR_ROWS].double() if x.is_floating_point() else x[:ERROR_ROWS] for x in inputs]
    return problem.formula(*rows, DIM)


def _check(outcome: Outcome, out: Tensor, expected: Tensor, exact: Tensor | None, tolerance: float) -> None:
    if out.shape != expected.shape:
        outcome.status, outcome.message = "wrong", f"shape {tuple(out.shape)} instead of {tuple(expected.shape)}"
        return
    if exact is not None:
        outcome.max_error = largest_difference(out[: len(exact)], exact)
    outcome.max_difference = _larger(outcome.max_difference, largest_difference(out, expected))
    if not all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in _slices(expected, out)):
        outcome.status, outcome.message = "wrong", f"differs by up to {outcome.max_difference:.3g}; atol = rtol = {tolerance:g}"


def largest_difference(a: Tensor, b: Tensor) -> float:
    """max |a - b| in float64; 0 where both are the same infinity, nan as soon as one difference is."""
    largest = 0.0
    for left, right in _slices(a, b):
        difference = (left.double() - right.double()).abs_()
        difference[left == right] = 0
        largest = _larger(largest, float(difference.max()))
    return largest


def _larger(a: float, b: float) -> float:
    return b if b > a or b != b else a


def _slices(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    if a.numel() > 0:
        rows = max(1, SLICE // a[0].numel())
        for row in range(0, len(a), rows):
            yield a[row : row + rows], b[row : row + rows]


def time_calls(call: Callable[[], object], device: str, trials: int) -> list[float]:
    """Milliseconds of each of `trials` calls with cold caches: between CUDA events, or by perf_counter on the CPU."""
    on_cuda = device == "cuda"
    for _ in range(WARM_UPS):
        call()
        if on_cuda:
            torch.cuda.synchronize()
    if on_cuda:
        torch.cuda.empty_cache()
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    time_call = _time_on_cuda if on_cuda else _time_on_cpu
    return [time_call(call, flush) for _ in range(DISCARDED + trials)][DISCARDED:]


def _time_on_cuda(call: Callable[[], object], flush: Tensor) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    flush.fill_(42)
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))


def _time_on_cpu(call: Callable[[], object], flush: Tensor) -> float:
    flush.fill_(42)
    time.sleep(REST_S)
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def main(job_file: str, result_file: str) -> None:
    """Reads the job, writes its outcomes, both JSON."""
    fields: dict[str, Any] = json.loads(Path(job_file).read_text(encoding="utf-8"))
    job = Job(**{**fields, "shape": tuple(fields["shape"])})
    with tempfile.TemporaryDirectory() as folder:
        outcomes = evaluate(job, Path(folder))
        Path(result_file).write_text(json.dumps([asdict(outcome) for outcome in outcomes]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
