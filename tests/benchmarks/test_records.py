from __future__ import annotations

import json

import pytest

from benchmarks.search.jobs import Job, finished_version, keep, perform
from benchmarks.search.records import read_records, read_run, write_records
from benchmarks.search.suites import DIGITS
from compress_gym.support.errors import AssetError
from tests.benchmarks.examples import record


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
