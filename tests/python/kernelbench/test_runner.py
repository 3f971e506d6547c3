"""The command as a user runs it, on the CPU, with small sizes: the table, the JSON, peers of every kind, and how it ends."""

import json
import math
import shutil
import subprocess
import sys

import pytest
import torch
from cumulus.kernelbench import PROBLEMS, runner
from cumulus.kernelbench.evaluate import Job, Outcome

SMALL = ["--device", "cpu", "--size", "33x65", "--trials", "2"]


@pytest.fixture(autouse=True)
def one_thread_is_enough(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def run(capsys, tmp_path, *arguments):
    """Exit status, table and JSON of a run in this process (its candidates are in others)."""
    out = tmp_path / "out.json"
    status = runner.main([*SMALL, "--json", str(out), *map(str, arguments)])
    return status, capsys.readouterr().out, json.loads(out.read_text())


def test_peers_of_every_kind(capsys, tmp_path, peer, document):
    """Whatever becomes of a peer is a row, and the rows after it are there as well."""
    task = tmp_path / "task.txt"
    task.write_text(document(peer("inner", "return torch.cumsum(x, dim)").read_text()))
    peers = [
        peer("wrong", "return torch.cumsum(x, dim) + 1"),
        peer("raises", "raise RuntimeError('out of luck')"),
        peer("exits", "import os; print('farewell', flush=True); os._exit(3)"),
        peer("crashes", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
        peer("leaves", "raise SystemExit(0)"),
        task,
    ]
    status, table, records = run(capsys, tmp_path, "--problem", "89", "--no-compile", "--peer", *peers)
    assert status == 0
    messages = {record["candidate"]: (record["status"], record["message"]) for record in records}
    assert messages == {
        "eager": ("correct", ""),
        "cumulus": ("correct", ""),
        "wrong": ("wrong", "differs by up to 1; atol = rtol = 0.0001"),
        "raises": ("failed", "RuntimeError: out of luck"),
        "exits": ("failed", "its process ended with status 3 and no result: farewell"),
        "crashes": ("failed", "its process ended with SIGSEGV and no result"),
        "leaves": ("failed", "its process ended with status 0 and no result"),
        "task": ("correct", ""),
    }
    lines = {line.split()[0]: line for line in table.splitlines() if line.startswith("  ")}
    assert " yes " in lines["cumulus"] and " yes " in lines["task"]
    for name in ("wrong", "raises", "exits", "crashes", "leaves"):
        assert lines[name].endswith(f"no: {messages[name][1]}")
    assert "perf_counter (KernelBench itself times GPUs only)" in table


def test_json(capsys, tmp_path):
    status, _, records = run(capsys, tmp_path, "--problem", "92-old", "93-bool", "--no-compile", "--commit", "abc")
    assert status == 0
    assert [(r["case"], r["candidate"]) for r in records] == [
        (f"kernelbench/{problem}", candidate) for problem in ("92-old", "93-bool") for candidate in ("eager", "cumulus")
    ]
    for record in records:
        old = record["case"] == "kernelbench/92-old"
        assert record["op"] == "sum" and record["axis"] == 1 and record["reverse"] is False
        assert record["kind"] == ("prefixes" if old else "inclusive") and record["mask"] == ("none" if old else "select")
        assert record["shape"] == [33, 65] and record["dtype"] == record["out_dtype"] == "f32"
        assert record["bytes"] == (32 * 65 * 4 + 32 * 66 * 4 if old else 33 * 65 * 9)
        assert record["device"] == "cpu" and record["commit"] == "abc" and record["version"] and record["torch"] == torch.__version__
        assert set(record["machine"]) == {"cpu", "cores"} and record["machine"]["cores"] >= 1
        assert record["rounds"] == len(record["times_ms"]) == 2 and record["calls"] == 1
        mean = sum(record["times_ms"]) / 2
        assert record["mean_us"] == pytest.approx(1e3 * mean)
        assert record["gbps"] == pytest.approx(record["bytes"] / record["mean_us"] / 1e3)
        assert record["ratio_copy"] == pytest.approx(record["copy_us"] / record["mean_us"])
        assert record["correct"] is True and 0 <= record["max_difference"] < 1e-4 and 0 < record["max_error"] < 1e-4
    eager, cumulus = records[:2]
    assert eager["ratio_eager"] == 1 and cumulus["ratio_eager"] == pytest.approx(eager["mean_us"] / cumulus["mean_us"])


def test_torch_compile(capsys, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs g++ on the CPU")
    status, table, records = run(capsys, tmp_path, "--problem", "93")
    assert [(r["candidate"], r["status"]) for r in records] == [("eager", "correct"), ("torch.compile", "correct"), ("cumulus", "correct")]
    assert status == 0 and "torch.compile" in table


def test_peer_for_one_problem(peer):
    path = peer("plain", "return x")
    options = runner._parse([*SMALL, "--peer", f"92-old={path}", "--peer", str(path)])
    names = {name: [list(job.candidates) for job in runner._jobs(PROBLEMS[name], options)] for name in ("89", "92-old")}
    own = ["eager", "torch.compile", "cumulus"]
    assert names == {"89": [own, ["plain"]], "92-old": [own, ["plain"], ["plain"]]}


def test_wrong_cumulus_is_exit_status_1(capsys, tmp_path, peer, monkeypatch):
    wrong = peer("wrong", "return x")
    monkeypatch.setattr(type(PROBLEMS["89"]), "path", property(lambda self: wrong))
    status, table, records = run(capsys, tmp_path, "--problem", "89", "--no-compile")
    assert status == 1 and records[-1]["status"] == "wrong" and records[-1]["mean_us"] is None and records[-1]["ratio_copy"] is None
    assert "no: differs by up to" in table


def test_a_process_that_takes_too_long():
    [outcome] = runner._run(Job("89", (4, 4), "f32", "cpu", 1, {"cumulus": str(PROBLEMS["89"].path)}), timeout=0.01)
    assert outcome.status == "failed" and outcome.message.startswith("took more than 0.01 s; --timeout allows more")


def test_an_infinite_difference_is_null_in_the_json():
    options = runner._parse(SMALL)
    outcomes = [Outcome("peer", "wrong", "why", max_difference=math.nan, max_error=math.inf)]
    [record] = runner._records(PROBLEMS["89"], outcomes, options)
    assert record["max_difference"] is None and record["max_error"] is None and record["gbps"] is None
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--problem", "88"], "invalid choice: '88'"),
        (["--size", "1"], "'1' is no size; N or RxC, each at least 2"),
        (["--size", "12x"], "'12x' is no size"),
        (["--trials", "0"], "'0' is no whole number of at least 1"),
        (["--peer", "89=nowhere.py"], "there is no file 'nowhere.py'"),
        (["--peer", "95=nowhere.py"], "there is no file '95=nowhere.py'; FILE or NAME=FILE"),
        (["--json", "no/such/folder/x.json"], "there is no folder no/such/folder"),
    ],
)
def test_wrong_command_lines(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        runner.main(["--device", "cpu", *arguments])
    assert ended.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device: --device cuda is no error")
def test_cuda_that_is_not_there(capsys):
    with pytest.raises(SystemExit) as ended:
        runner.main(["--device", "cuda"])
    assert ended.value.code == 2 and "--device cpu runs without" in capsys.readouterr().err


def test_default_sizes():
    assert runner._parse(["--device", "cpu"]).size == (2048, 2048)
    assert runner._parse(["--device", "cpu", "--size", "12"]).size == (12, 12)


def test_default_size_on_cuda_fits_into_memory(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for gib, size in [(139, 32768), (23.5, 32768), (16, 16384), (2, 8192)]:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gib=gib: (int(gib * 2**30), 0))
        assert runner._parse([]).size == (size, size)
        assert ("instead of 32768" in capsys.readouterr().out) == (size < 32768)


def test_as_a_module():
    shown = subprocess.run([sys.executable, "-m", "cumulus.kernelbench", "--help"], capture_output=True, text=True, check=True).stdout
    assert "task document" in shown and "92-old" in shown
