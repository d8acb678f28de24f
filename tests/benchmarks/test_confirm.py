import json
import shutil

import pytest

from benchmarks.search.confirm import confirm, difference, outdated_groups
from benchmarks.search.confirm import main as confirm_runs
from benchmarks.search.jobs import Job, finished_version, is_finished, perform
from benchmarks.search.suites import DIGITS, EVALUATIONS
from compress_gym.support.cards import read_json
from tests.helpers import run_here

JOBS = [Job(DIGITS, "random", seed, EVALUATIONS) for seed in range(3)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for job in JOBS:
        perform(job, folder / job.name)
    return folder


@pytest.fixture
def runs(made, tmp_path):
    """Three runs that were made by code of before, and one by code of long before."""
    folder = shutil.copytree(made, tmp_path / "runs")
    for job, version in zip(JOBS, ("before", "before", "long before"), strict=True):
        path = folder / job.name / "job.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))
    return folder


def test_runs_of_one_method_problem_and_version_are_a_group(made, runs):
    assert list(outdated_groups(JOBS, made)) == []
    assert list(outdated_groups(JOBS, runs)) == [JOBS[:2], JOBS[2:]]


def test_runs_stay_if_those_that_are_repeated_are_the_same(runs, monkeypatch, capsys):
    code, text, _ = run_here(confirm_runs, ["--runs", runs], monkeypatch, capsys)
    assert code == 0 and "3 runs are kept, 0 stay outdated" in text
    assert all(is_finished(job, runs) for job in JOBS)
    assert read_json(runs / JOBS[1].name / "job.json")["made_with"] == {"version": "before", "repeated_seeds": [0]}


def test_runs_are_outdated_if_one_that_is_repeated_differs(runs, monkeypatch, capsys):
    path = runs / JOBS[0].name / "evaluations.csv"
    path.write_text(path.read_text().replace(",0.", ",0.1", 1))
    code, text, errors = run_here(confirm_runs, ["--runs", runs], monkeypatch, capsys)
    assert code == 1 and "0 runs are kept, 3 stay outdated" in text
    assert "random/seed-0 differs: evaluations.csv" in errors
    assert finished_version(runs / JOBS[1].name) == "before"


def test_times_are_no_difference(made, runs, tmp_path):
    perform(JOBS[0], tmp_path / "again")
    assert difference(tmp_path / "again", made / JOBS[0].name) == ""
    assert difference(made / JOBS[0].name, made / JOBS[1].name) == "config.yml"  # the seed
    best = runs / JOBS[0].name / "best_strategy.json"
    best.write_text(best.read_text().replace("0.", "0.0", 1))
    assert difference(runs / JOBS[0].name, made / JOBS[0].name) == "best_strategy.json"
    confirm(JOBS[0], runs, [0])
    assert is_finished(JOBS[0], runs)
