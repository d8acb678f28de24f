from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from agents.hyperparams import read_hyperparameters
from agents.learners import ALGORITHMS, action_type, build, train
from agents.runs import Run
from benchmarks.search import __main__ as runner
from benchmarks.search.__main__ import main as search_benchmark
from benchmarks.search.jobs import Job, finished_version, jobs_of, keep, perform
from benchmarks.search.learning import learned, random_bests
from benchmarks.search.ray_engine import run_on_ray
from benchmarks.search.records import Record, read_records, read_run, write_records
from benchmarks.search.references import Reference, best_found, freeze, reference
from benchmarks.search.report import answers, write_report
from benchmarks.search.scheduler import Outcome, run_local
from benchmarks.search.scores import Results
from benchmarks.search.statistics import difference_interval, paired_difference_interval
from benchmarks.search.suites import DIGITS, EVALUATIONS, PROBLEMS, SUITES, BenchmarkProblem, Suite
from benchmarks.search.versions import build as build_problem
from benchmarks.search.versions import code_of, problem_version, run_version
from compress_gym.envs.compression import CompressionEnv
from compress_gym.errors import AssetError
from tests.agents.test_search import Counting
from tests.helpers import run_here

ROOT = Path(__file__).parents[2]
TINY = ["--suite", "quick", "--method", "random", "--method", "uniform", "--evaluations", "20"]


def record(method, seed, improved, allowance=EVALUATIONS, problem=DIGITS.name, **changes):
    fields = {
        "version": "v",
        "evaluations": allowance,
        "processor_seconds": 1.5,
        "final_policy": None,
        "improved_at": tuple(improved),
        "best": tuple(improved.values()),
        **changes,
    }
    return Record(problem, method, seed, allowance=allowance, **fields)


# What a run is


def test_a_suite_gives_every_method_every_problem_and_seed_once_seed_by_seed():
    for suite in SUITES.values():
        jobs = jobs_of(suite)
        assert len({job.name for job in jobs}) == len(jobs)
        assert len(jobs) == len(suite.problems) * len(suite.methods) * suite.seeds and suite.seeds >= 10
        assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
        assert {job.evaluations for job in jobs if job.method != "gaussian-process"} == {EVALUATIONS}


@pytest.mark.parametrize("method", ["random", "ppo"])
def test_same_seed_twice_gives_the_same_run_folder(method, tmp_path):
    job = Job(DIGITS, method, 3, 15)
    for name in "ab":
        perform(job, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*") if p.is_file())
    assert ("policy.safetensors" in map(str, files)) == (method == "ppo")
    for file in files:
        first, second = ((tmp_path / name / file).read_bytes() for name in "ab")
        if file.name == "evaluations.csv":  # its second column is the time
            first, second = (re.sub(rb"(?m)^(\d+),[\d.]+,", rb"\1,", text) for text in (first, second))
        if file.name == "job.json":
            first, second = (re.sub(rb'"\w*seconds": [\d.]+', b"", text) for text in (first, second))
        assert first == second, file


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_learners_keep_their_allowance_counted_by_the_accuracy_model(algorithm, tmp_path):
    """Searches: see `test_the_allowance_is_kept_exactly`."""
    problem = build_problem(DIGITS)
    counting = Counting(problem.accuracy_model)
    env = CompressionEnv(problem.replace(accuracy_model=counting), action_type(algorithm))
    hyperparameters = read_hyperparameters(algorithm, "ChannelPrune-v0")
    if "warmup_episodes" in hyperparameters:
        hyperparameters["warmup_episodes"] = 5
    model = build(algorithm, env, hyperparameters, 0)
    with Run(tmp_path, {"method": algorithm, "environment": {}}) as run:
        train(model, run, 9)
    assert counting.asked == len(run.scored) == 9


# Versions


def test_versions_see_code_but_not_its_comments():
    code = 'def f(x):\n    """Says."""\n    return x + 1\n'
    assert code_of(code) == code_of('# why\ndef f(x):\n    """Says more."""\n\n    return x + 1  # so\n')
    assert code_of(code) != code_of(code.replace("+ 1", "+ 2"))
    assert code_of('x = {"a": """b"""}') != code_of('x = {"a": """c"""}')


def test_versions_see_what_a_run_depends_on(monkeypatch):
    problem = build_problem(DIGITS)
    assert problem_version(problem) == problem_version(problem.replace(budget=problem.budget))
    assert problem_version(problem) != problem_version(problem.replace(budget=0.6))
    versions = {
        run_version(m, p, n) for m in ("random", "ddpg") for p in (DIGITS, SUITES["full"].problems[1]) for n in (1, 2)
    }
    assert len(versions) == 8
    before = run_version("ppo", DIGITS, 1)
    run_version.cache_clear()
    monkeypatch.setattr("benchmarks.search.versions.read_hyperparameters", lambda *_: {"gamma": 0.5})
    assert run_version("ppo", DIGITS, 1) != before
    run_version.cache_clear()


# The runner


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


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_killed_it_goes_on_where_it_was(kill, tmp_path, monkeypatch, capsys):
    arguments = ["--suite", "quick", "--method", "random", "--seeds", "6", "--evaluations", "20", "--runs", tmp_path]
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
    assert 2 <= len(finished) < 6
    assert run_here(search_benchmark, arguments, monkeypatch, capsys)[0] == 0
    assert len(list((tmp_path / DIGITS.name).rglob("seed-*/job.json"))) == 6
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
        yield Outcome(Job(DIGITS, "random", 1, 5), None, "Traceback: it broke\n")
        yield Outcome(good, tmp_path / "made")

    assert runner._run([good, Job(DIGITS, "random", 1, 5)], tmp_path / "runs", outcomes) == 1
    assert "it broke" in capsys.readouterr().err
    assert finished_version(tmp_path / "runs" / good.name) == good.version


def test_a_full_disk_ends_the_run_in_words(tmp_path):
    def outcomes(jobs):
        yield Outcome(jobs[0], None, "OSError: [Errno 28] No space left on device\n")
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


# Records


def test_the_best_so_far_by_hand():
    run = record("random", 0, {3: 0.5, 40: 0.7}, allowance=100)
    assert [run.best_at(n) for n in (1, 3, 39, 40, 100, 101)] == [None, 0.5, 0.5, 0.7, 0.7, None]
    ended = record("uniform", 0, {1: 0.3}, evaluations=1)
    assert ended.best_at(400) == 0.3


def test_runs_survive_the_csv(tmp_path):
    runs = [
        record("random", 1, {3: 0.5}),
        record("random", 0, {1: 0.25, 7: 0.5}, final_policy=0.75),
        record("x", 0, {}),
    ]
    write_records(tmp_path / "runs.csv", runs)
    assert read_records(tmp_path / "runs.csv") == [runs[1], runs[0], runs[2]]
    text = (tmp_path / "runs.csv").read_text()
    (tmp_path / "runs.csv").write_text(text.replace("1 7", "1"))
    with pytest.raises(AssetError, match="line 2 is not that of a run"):
        read_records(tmp_path / "runs.csv")


def test_infeasible_evaluations_are_counted_but_never_the_best(tmp_path):
    job = Job(DIGITS, "integer-program", 0, 100)
    perform(job, tmp_path)
    run = read_run(tmp_path)
    assert run.evaluations > 30 and run.improved_at == (run.evaluations,)
    assert run.best_at(run.evaluations - 1) is None


def test_a_newer_run_takes_the_place_of_an_older_one(tmp_path):
    job = Job(DIGITS, "uniform", 0, 5)
    for text in ("old", "new"):
        made = tmp_path / ".unfinished" / "0"
        made.mkdir(parents=True)
        (made / "job.json").write_text(json.dumps({"version": text}))
        keep(made, job, tmp_path)
    assert finished_version(tmp_path / job.name) == "new"
    assert not list((tmp_path / ".unfinished").iterdir())


# The report


@pytest.fixture
def results():
    """Two runs each on one problem, 0.4 being the uniform strategy and 0.8 the best."""
    runs = [record("random", s, {1: 0.5, 300: 0.6}) for s in range(2)]
    runs += [record("ppo", s, {1: 0.4, 110: 0.7 + s / 10}, final_policy=0.7) for s in range(2)]
    runs += [record("gaussian-process", s, {1: 0.8}, allowance=100) for s in range(2)]
    ends = {DIGITS.name: Reference(0.4, 0.8, "true optimum")}
    return Results.of([DIGITS.name], ["random", "ppo", "gaussian-process"], 2, runs, ends)


def test_scores_by_hand(results):
    assert results.matrix("random", 400) == pytest.approx(np.array([[0.5], [0.5]]))
    assert results.matrix("ppo", 400) == pytest.approx(np.array([[0.75], [1.0]]))
    assert results.matrix("gaussian-process", 400) is None
    assert results.regret_points(DIGITS.name, "ppo", 400) == pytest.approx([10, 0])
    assert results.aggregate("random", 100).value == pytest.approx(0.25)
    improvement = results.improvement("ppo", "random", 400)
    assert (improvement.value, improvement.low, improvement.high) == (1, 1, 1)
    assert results.better_from("ppo", "random", range(20, 401, 20)) == 120
    assert results.better_from("random", "ppo", range(20, 401, 20)) is None


def test_the_answer_names_the_number_of_evaluations(results):
    assert answers(results) == [
        "ppo beats random search from 120 evaluations on (probability of improvement at 400: 1.00 [1.00, 1.00])."
    ]


def test_learning_is_a_difference_whose_whole_interval_is_below_zero():
    """Ten runs each: ddpg finds the optimum in all but one, td3 is random search."""
    end, chance = reference(DIGITS), random_bests()
    assert len(chance) == 200 and (chance <= end.best).all() and chance.min() < np.median(chance) < end.best
    runs = [record("ddpg", s, {1: end.best - (s == 3) / 20}, final_policy=end.best - 0.05) for s in range(10)]
    runs += [record("td3", s, {1: float(chance[s])}, final_policy=0.5) for s in range(10)]
    ddpg, td3 = learned(Results.of([DIGITS.name], ["ddpg", "td3"], 10, runs, {DIGITS.name: end}))
    assert (ddpg.method, ddpg.learns, td3.learns) == ("ddpg", True, False)
    assert (ddpg.regret, ddpg.final_regret) == pytest.approx((0, 5.0))
    assert ddpg.difference.value == pytest.approx(-100 * (end.best - np.median(chance)))
    assert ddpg.difference.low <= ddpg.difference.value <= ddpg.difference.high < 0 <= td3.difference.high


def test_runs_of_the_same_seed_are_compared_in_pairs():
    one = np.array([1.0, 5.0, 9.0, 13.0])
    assert paired_difference_interval(one + 2, one) == pytest.approx((2, 2))
    low, high = difference_interval(one + 2, one)
    assert low < 0 < 2 < high
    with pytest.raises(ValueError, match="are no pairs"):
        paired_difference_interval(one, one[:3])


def test_missing_and_doubled_runs_are_told(results):
    runs = [record("random", 0, {1: 0.5})]
    for wrong, words in ((runs, r"seeds \[0\]"), ([*runs, *runs], r"seeds \[0, 0\]")):
        with pytest.raises(ValueError, match=words):
            Results.of([DIGITS.name], ["random"], 2, wrong, results.references)


def test_problems_without_a_gap_are_kept_out_of_the_aggregate():
    flat = BenchmarkProblem("ChannelPrune-v0", "flat")
    runs = [record("random", s, {1: 0.5}, problem=p) for s in range(2) for p in (DIGITS.name, flat.name)]
    ends = {DIGITS.name: Reference(0.4, 0.6, "true optimum"), flat.name: Reference(0.5, 0.505, "true optimum")}
    results = Results.of([DIGITS.name, flat.name], ["random"], 2, runs, ends)
    assert results.normalised_problems == (DIGITS.name,)
    assert results.matrix("random", 400) == pytest.approx(np.array([[0.5], [0.5]]))


def test_a_report_of_a_tiny_suite(tmp_path):
    suite = Suite((DIGITS,), ("random", "ppo", "uniform"), seeds=2)
    optimum = reference(DIGITS).best
    runs = [record("random", s, {1: 0.31, 50: 0.56375}) for s in range(2)]
    runs += [record("ppo", s, {1: 0.31, 50: optimum}, final_policy=optimum) for s in range(2)]
    runs += [record("uniform", s, {1: 0.31}, evaluations=1) for s in range(2)]
    text = write_report("tiny", suite, runs, tmp_path, "python -m benchmarks.search --suite tiny")
    assert "| ppo | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | - | 1.5 |" in text
    assert "| random | 0.50 [0.50, 0.50] | 0.50 [0.50, 0.50] | - | - | 1.5 |" in text
    assert "| ppo | 400 | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] |" in text
    assert text.index("| ppo |") < text.index("| random |") < text.index("| uniform |")
    facts = json.loads((tmp_path / "tiny.json").read_text())
    assert facts["processor_hours"] == pytest.approx(6 * 1.5 / 3600, abs=1e-3)
    for name in ("tiny-curves.png", "tiny-profiles.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "tiny-table.csv").read_text().count("\n") == 4
    again = write_report("tiny", suite, runs, tmp_path, "")
    assert again == text


def test_references_are_chosen_among_what_runs_found_within_the_budget(tmp_path):
    problem = build_problem(DIGITS)
    fitting = problem.random(np.random.default_rng(0), 3)
    best = problem.decisions.sizes - 1  # over the budget, as a run of an earlier one may be
    for n, row in enumerate([*fitting, fitting[0], best]):
        folder = tmp_path / "random" / f"seed-{n}"
        folder.mkdir(parents=True)
        accuracy = float(problem.accuracy(row)[0])
        found = {"strategy": problem.describe(row), "accuracy": accuracy}
        (folder / "best_strategy.json").write_text(json.dumps(found))
    rows = best_found(problem, tmp_path)
    assert {tuple(row) for row in rows.tolist()} == {tuple(row) for row in fitting.tolist()}
    assert (np.diff(problem.accuracy(rows)) <= 0).all()
    with pytest.raises(ValueError, match="holds no run of ChannelPrune-v0/digits-cnn"):
        freeze(DIGITS, tmp_path / "nothing", tmp_path, 1)


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.name != DIGITS.name], ids=lambda p: p.name)
def test_frozen_references_are_those_of_the_shipped_assets(problem):
    end, built = reference(problem), build_problem(problem)
    assert 0 < end.uniform < end.best <= 1
    assert end.kind == ("true optimum" if built.accuracy_model.source == "measured" else "best live-scored")


# Ray


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1:1", "no Ray cluster answers there"), ("nowhere", "must be 'auto' or HOST:PORT")],
)
def test_an_address_that_does_not_answer_is_told(address, words, tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    with pytest.raises(ValueError, match=words):
        list(run_on_ray([Job(DIGITS, "random", 0, 5)], tmp_path, address))


def test_a_dying_node_loses_no_job_and_doubles_none(tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    jobs = [Job(DIGITS, "random", seed, 100) for seed in range(6)]
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        killed, waiting = [], partial(run_on_ray, unfinished=tmp_path / "unfinished", address=cluster.address)
        kept = []
        for outcome in waiting(jobs):
            assert outcome.failure == ""
            keep(outcome.made, outcome.job, tmp_path)
            kept.append(outcome.job)
            if not killed:
                cluster.remove_node(second, allow_graceful=False)
                killed.append(second)
    finally:
        cluster.shutdown()
    assert killed and sorted(job.seed for job in kept) == [job.seed for job in jobs]
    assert all(finished_version(tmp_path / job.name) == job.version for job in jobs)
