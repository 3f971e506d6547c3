"""KernelBench's rules: seeds, inputs, tolerances, timing; and what becomes of candidates that fail."""

import json
import math
from dataclasses import asdict

import pytest
import torch
from cumulus.kernelbench import PROBLEMS, evaluate
from cumulus.kernelbench.evaluate import COPY, EAGER, Job, Outcome, largest_difference, time_calls, trial_seeds

SHAPE = (70, 33)  # more rows than those looked at in float64


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(evaluate, "FLUSH_BYTES", 1 << 10)
    monkeypatch.setattr(evaluate, "REST_S", 0)


@pytest.fixture
def outcome_of(peer, tmp_path):
    """outcome_of(body): how a peer with that body does on problem 89."""

    def run(body, problem="89", dtype="f32"):
        job = Job(problem, SHAPE, dtype, "cpu", 3, {"peer": str(peer("peer", body))})
        [outcome] = evaluate.evaluate(job, tmp_path)
        return outcome

    return run


def test_seeds():
    generator = torch.Generator().manual_seed(42)
    assert trial_seeds() == [int(torch.randint(0, 2**32 - 1, (1,), generator=generator)) for _ in range(5)]


def test_inputs_are_those_of_kernelbench():
    torch.manual_seed(7)
    x = torch.rand(4, 5)
    mask = torch.randint(0, 2, x.shape).bool()
    for name, expected in [("89", [x]), ("93", [x, mask.float()]), ("93-bool", [x, mask])]:
        torch.manual_seed(7)
        inputs = PROBLEMS[name].inputs((4, 5), torch.float32, "cpu")
        assert [t.dtype for t in inputs] == [t.dtype for t in expected]
        assert all(torch.equal(a, b) for a, b in zip(inputs, expected, strict=True))


def test_bytes_that_must_move():
    gigabytes = {name: problem.bytes((32768, 32768), torch.float32) / 1e9 for name, problem in PROBLEMS.items()}
    expected = {"89": 8.590, "90": 8.590, "91": 8.590, "92": 8.590, "92-old": 8.590, "93": 12.885, "93-bool": 9.664}
    assert gigabytes == pytest.approx(expected, abs=5e-4)
    assert PROBLEMS["92-old"].out_shape((32768, 32768)) == (32767, 32769)
    assert PROBLEMS["89"].bytes((3, 5), torch.float16) == 2 * 3 * 5 * 2


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_cumulus_and_eager_are_correct(name, dtype, tmp_path):
    job = Job(name, SHAPE, dtype, "cpu", 2, {EAGER: "", "cumulus": str(PROBLEMS[name].path)}, copy=True)
    copy, eager, cumulus = evaluate.evaluate(job, tmp_path)
    assert (copy.name, eager.name, cumulus.name) == (COPY, EAGER, "cumulus")
    assert (copy.status, eager.status, cumulus.status) == ("timed", "correct", "correct"), cumulus.message
    assert all(len(outcome.times_ms) == 2 and min(outcome.times_ms) > 0 for outcome in (copy, eager, cumulus))
    assert eager.max_difference == 0
    assert 0 < cumulus.max_error < {"f32": 1e-5, "f16": 2e-2, "bf16": 0.2}[dtype]


def test_a_small_difference_is_within_the_tolerance(outcome_of):
    outcome = outcome_of("return torch.cumsum(x, dim) + 5e-5")
    assert outcome.status == "correct" and outcome.max_difference == pytest.approx(5e-5, rel=0.1)
    assert outcome.max_error == pytest.approx(5e-5, rel=0.2)
    assert len(outcome.times_ms) == 3


def test_the_tolerance_is_relative_too_and_wider_for_half_precision(outcome_of):
    assert outcome_of("return torch.cumsum(x, dim) * 1.00009").status == "correct"
    assert outcome_of("return torch.cumsum(x, dim) * 1.001").status == "wrong"
    assert outcome_of("return torch.cumsum(x, dim) * 1.004", dtype="f16").status == "correct"
    assert outcome_of("return torch.cumsum(x, dim) * 1.05", dtype="f16").status == "wrong"


def test_wrong_values_are_not_timed(outcome_of):
    outcome = outcome_of("return torch.cumsum(x, dim) + 1")
    assert (outcome.status, outcome.times_ms) == ("wrong", [])
    assert outcome.message == "differs by up to 1; atol = rtol = 0.0001"


def test_wrong_in_the_last_element_of_the_last_trial_only(outcome_of):
    """Five trials are made, each with other numbers, and every element counts."""
    last = f"torch.initial_seed() == {trial_seeds()[-1]}"
    assert outcome_of(f"y = torch.cumsum(x, dim); y[-1, -1] += 1 * ({last}); return y").status == "wrong"
    assert outcome_of("y = torch.cumsum(x, dim); y[-1, -1] += 0; return y").status == "correct"


def test_a_remembered_result_is_wrong(outcome_of):
    assert outcome_of("scan.y = getattr(scan, 'y', torch.cumsum(x, dim)); return scan.y").status == "wrong"


def test_wrong_shape(outcome_of):
    outcome = outcome_of("return torch.cumsum(x, dim)[:-1]")
    assert (outcome.status, outcome.message) == ("wrong", "shape (69, 33) instead of (70, 33)")


@pytest.mark.parametrize(
    "body, message",
    [
        ("raise RuntimeError('no GPU\\nand more')", "RuntimeError: no GPU"),
        ("assert x.is_cuda", "AssertionError: assert x.is_cuda"),
        ("import a_module_that_nobody_has", "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"),
        ("return torch.cumsum(x.double(), dim)", "RuntimeError: Float did not match Double"),
        ("return None", "AttributeError: 'NoneType' object has no attribute 'shape'"),
    ],
)
def test_failures_are_told(outcome_of, body, message):
    outcome = outcome_of(body)
    assert (outcome.status, outcome.message, outcome.times_ms) == ("failed", message, [])


def test_a_failure_does_not_keep_others_from_being_measured(peer, tmp_path):
    files = {"fails": str(peer("fails", "raise ValueError('x')")), "missing": "no/such/file.py", "cumulus": str(PROBLEMS["89"].path)}
    outcomes = evaluate.evaluate(Job("89", SHAPE, "f32", "cpu", 1, files), tmp_path)
    assert [outcome.status for outcome in outcomes] == ["failed", "failed", "correct"]
    assert outcomes[1].message.startswith("FileNotFoundError: ")


def test_nan_is_wrong(outcome_of):
    outcome = outcome_of("y = torch.cumsum(x, dim); y[0, 0] = torch.nan; return y")
    assert outcome.status == "wrong" and math.isnan(outcome.max_difference)


def test_largest_difference():
    a = torch.tensor([[1.0, math.inf], [3.0, -math.inf]])
    assert largest_difference(a, a.clone()) == 0
    assert largest_difference(a, a + torch.tensor([[0.0, 0.0], [-0.5, 0.0]])) == 0.5
    assert largest_difference(a, torch.zeros(2, 2)) == math.inf
    assert math.isnan(largest_difference(torch.tensor([[math.nan], [9.0]]), torch.zeros(2, 1)))
    assert largest_difference(torch.zeros(0, 3), torch.zeros(0, 3)) == 0


def test_largest_difference_looks_at_every_slice(monkeypatch):
    monkeypatch.setattr(evaluate, "SLICE", 8)
    a = torch.zeros(7, 3)
    for row in range(7):
        b = a.clone()
        b[row, 2] = row + 1
        assert largest_difference(a, b) == row + 1


def test_calls_made_for_a_timing():
    calls = []
    times = time_calls(lambda: calls.append(1), "cpu", 4)
    assert len(times) == 4 and len(calls) == evaluate.WARM_UPS + evaluate.DISCARDED + 4


def test_the_flush_is_written_before_every_timing(monkeypatch):
    flushes = []
    fill = torch.Tensor.fill_
    monkeypatch.setattr(torch.Tensor, "fill_", lambda self, value: (flushes.append(self.numel()), fill(self, value))[1])
    time_calls(lambda: None, "cpu", 4)
    assert flushes == [evaluate.FLUSH_BYTES] * 5


def test_main_reads_a_job_and_writes_outcomes(tmp_path):
    job, result = tmp_path / "job.json", tmp_path / "result.json"
    job.write_text(json.dumps(asdict(Job("92-old", (5, 6), "f32", "cpu", 1, {"cumulus": str(PROBLEMS["92-old"].path)}))))
    evaluate.main(str(job), str(result))
    [outcome] = [Outcome(**fields) for fields in json.loads(result.read_text())]
    assert outcome.status == "correct" and len(outcome.times_ms) == 1
