from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from benchmarks.search import __main__ as runner
from benchmarks.search.__main__ import main as search_benchmark
from benchmarks.search.jobs import Job, finished_version, perform
from benchmarks.search.records import read_records, read_run
from benchmarks.search.scheduler import JobOutcome, run_local
from benchmarks.search.suites import DIGITS
from tests.helpers import run_here

ROOT = Path(__file__).parents[2]
TINY = ["--suite", "quick", "--method", "random", "--method", "uniform", "--evaluations", "20"]


def test_finished_jobs_are_not_run_again_and_outdated_ones_are(tmp_path, monkeypatch, capsys):
    arguments = [*TINY, "--seeds", "2", "--runs", tmp_path]
    assert run_here(search_benchmark, arguments, monkeypatch, capsys)[0] == 0
    marks = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("job.json")}
    assert len(marks) == 4 and not (tmp_path / ".unfinished").exists()
    outdated = min(marks)
    changed = {**json.loads(outdated.read_text()), "version": "older"}
    outdated.write_text(json.dumps(changed))
    code, text, errors = run_here(search_benchmark, arguments, monkeypatch, capsys)
    assert code == 0 and "3 of 4 jobs are finished; 1 are run again" in errors
    assert json.loads(outdated.read_text())["version"] != "older"
    assert {p for p, before in marks.items() if p.stat().st_mtime_ns != before} == {outdated}
    records = read_records(tmp_path / "report" / "quick.csv")
    assert [(r.method, r.seed, r.evaluations) for r in records] == [
        ("random", 0, 20),
        ("random", 1, 20),
        ("uniform", 0, 1),
        ("uniform", 1, 1),
    ]
    assert records == [read_run(tmp_path / DIGITS.name / r.method / f"seed-{r.seed}") for r in records]
    assert (tmp_path / "report" / "quick.md").read_text().strip() in text


def test_runs_of_another_allowance_have_a_folder_of_their_own():
    assert runner.default_runs(400) == Path("runs/benchmark")
    assert runner.default_runs(20) == Path("runs/benchmark-20")


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_killed_it_goes_on_where_it_was(kill, tmp_path, monkeypatch, capsys):
    arguments = ["--suite", "quick", "--method", "random", "--seeds", "12", "--evaluations", "1000", "--runs", tmp_path]
    command = [sys.executable, "-m", "benchmarks.search", *map(str, arguments)]
    environment = {**os.environ, "RUNNER_OF_THIS_TEST": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and len(list(tmp_path.rglob("seed-*/job.json"))) < 2:
        time.sleep(0.02)
    process.send_signal(kill)
    assert process.wait() == (130 if kill == signal.SIGINT else -kill)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and running_with(str(tmp_path)):
        time.sleep(0.1)
    assert not running_with(str(tmp_path))  # a killed runner leaves no job behind
    finished = {p: p.stat().st_mtime_ns for p in (tmp_path / DIGITS.name).rglob("seed-*/job.json")}
    assert 2 <= len(finished) < 12
    assert run_here(search_benchmark, arguments, monkeypatch, capsys)[0] == 0
    assert len(list((tmp_path / DIGITS.name).rglob("seed-*/job.json"))) == 12
    assert all(p.stat().st_mtime_ns == before for p, before in finished.items())


def running_with(value):
    """Processes that inherited an environment variable of this value."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [path] if value.encode() in path.read_bytes() else []
        except OSError:  # it ended, or is another user's
            continue
    return found


def test_a_failed_job_is_told_with_its_traceback_and_stops_no_other(tmp_path):
    bad, good = Job(DIGITS, "random", -1, 5), Job(DIGITS, "random", 0, 5)
    environment = dict(os.environ)
    outcomes = {outcome.job: outcome for outcome in run_local([bad, good], tmp_path, workers=1)}
    assert dict(os.environ) == environment  # threads are limited in the jobs alone
    assert outcomes[bad].made is None
    assert "Traceback" in outcomes[bad].failure and "Seed must be" in outcomes[bad].failure
    assert outcomes[good].failure == "" and finished_version(outcomes[good].made) == good.version


def test_failures_are_counted_and_nothing_else_is_lost(tmp_path, monkeypatch, capsys):
    good = Job(DIGITS, "random", 0, 5)
    perform(good, tmp_path / "made")

    def outcomes(jobs):
        yield JobOutcome(Job(DIGITS, "random", 1, 5), None, "Traceback: it broke\n")
        yield JobOutcome(good, tmp_path / "made")

    assert runner._run([good, Job(DIGITS, "random", 1, 5)], tmp_path / "runs", outcomes) == 1
    assert "it broke" in capsys.readouterr().err
    assert finished_version(tmp_path / "runs" / good.name) == good.version


def test_runs_whose_code_changed_while_they_ran_are_not_kept(tmp_path, capsys):
    job = Job(DIGITS, "random", 0, 5)
    perform(job, tmp_path / "made")
    mark = tmp_path / "made" / "job.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "version": "of before"}))
    assert runner._run([job], tmp_path / "runs", lambda jobs: iter([JobOutcome(job, tmp_path / "made")])) == 1
    assert "changed while it ran" in capsys.readouterr().err
    assert not (tmp_path / "runs" / job.name).exists()


def test_a_full_disk_ends_the_run_in_words(tmp_path):
    def outcomes(jobs):
        yield JobOutcome(jobs[0], None, "OSError: [Errno 28] No space left on device\n")
        raise AssertionError("the run should have ended")

    with pytest.raises(ValueError, match="no space is left .* what is finished is kept"):
        runner._run([Job(DIGITS, "random", 0, 5)], tmp_path, outcomes)


def test_a_job_that_is_killed_is_a_failed_job(tmp_path):
    job = Job(DIGITS, "random", 0, 10_000_000)
    running = run_local([job], tmp_path, workers=1)

    def kill_the_child():
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and not list(tmp_path.rglob("evaluations.csv")):
            time.sleep(0.05)
        # The server that forks the jobs is a child of this process, the job a child of the server.
        for server in children(os.getpid()):
            for child in children(server):
                os.kill(child, signal.SIGKILL)

    thread = threading.Thread(target=kill_the_child)
    thread.start()
    (outcome,) = running
    thread.join()
    assert outcome.made is None and "signal 9" in outcome.failure


def children(parent):
    path = Path(f"/proc/{parent}/task/{parent}/children")
    if not path.exists():
        pytest.skip("this system does not list a process's children")
    return [int(child) for child in path.read_text().split()]


def test_a_second_runner_is_refused(tmp_path, monkeypatch, capsys):
    with FileLock(tmp_path / ".lock"):
        code, _, errors = run_here(search_benchmark, [*TINY, "--seeds", "2", "--runs", tmp_path], monkeypatch, capsys)
    assert code == 2 and "is used by another runner" in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "quik"], "suite='quik'.*Did you mean 'quick'"),
        (["--method", "rndom"], "method='rndom'.*Did you mean 'random'"),
        (["--seeds", "1"], "--seeds"),
        (["--workers", "0"], "--workers"),
        (["--engine", "dask"], "--engine"),
        (["--report", "--out", "nowhere"], "quick.csv: the file is missing; run the suite first"),
        (["--runs", "/dev/null/runs"], "Not a directory"),
    ],
)
def test_bad_input_is_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run_here(search_benchmark, arguments, monkeypatch, capsys)
    (line,) = errors.strip().splitlines()
    assert code == 2 and re.search(words, line), line
