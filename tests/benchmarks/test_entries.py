import json

import pytest

from benchmarks.search.entries import described
from benchmarks.search.entries import main as describe
from benchmarks.search.jobs import Job, perform
from benchmarks.search.suites import DIGITS, EVALUATIONS, SUITES
from leaderboard.__main__ import cli
from leaderboard.submit import described_submissions
from leaderboard.tracks import load_tracks
from tests.helpers import run_here

UNIFORM = [Job(DIGITS, "uniform", seed, EVALUATIONS) for seed in range(2)]


def write_description(jobs, runs):
    (runs / "entries.json").write_text(json.dumps({"entries": described(jobs, runs)}))
    return runs / "entries.json"


def test_every_problem_of_the_suite_has_a_track(tmp_path):
    jobs = [Job(problem, "uniform", 0, 1) for problem in SUITES["standard"].problems]
    for job in jobs:
        perform(job, tmp_path / job.name)
    tracks = load_tracks()
    made = list(described_submissions(write_description(jobs, tmp_path), tracks))
    assert [s.results[0].task for s in made] == [problem.task for problem in SUITES["standard"].problems]
    asked = {(tracks[s.track].evaluations, tracks[s.track].seeds) for s in made}
    assert asked == {(EVALUATIONS, SUITES["standard"].seeds)}


def test_a_method_is_described_once_all_its_runs_are_there(tmp_path):
    for job in UNIFORM:
        perform(job, tmp_path / job.name)
    (uniform,) = described_submissions(write_description(UNIFORM, tmp_path), load_tracks())
    assert (uniform.track, uniform.name, uniform.deterministic) == ("enumerated-digits", "uniform", True)
    assert [result.seed for result in uniform.results] == [0, 1]
    with pytest.raises(ValueError, match="ppo/seed-0 is missing or outdated; run: python -m benchmarks.search"):
        described([*UNIFORM, Job(DIGITS, "ppo", 0, EVALUATIONS)], tmp_path)


def test_runs_that_no_track_asks_for_are_left_out(tmp_path):
    for job in UNIFORM:
        perform(job, tmp_path / job.name)
    tracks = {name: track for name, track in load_tracks().items() if name != "enumerated-digits"}
    assert not list(described_submissions(write_description(UNIFORM, tmp_path), tracks))


def test_what_is_new_or_changed_is_told_with_the_command_that_verifies_it(tmp_path, monkeypatch, capsys):
    for job in UNIFORM:
        perform(job, tmp_path / job.name)
    monkeypatch.setattr("benchmarks.search.entries.jobs_of", lambda _: UNIFORM)
    out = run_here(describe, ["--runs", tmp_path], monkeypatch, capsys)[1]
    assert f"python -m leaderboard submit-all {tmp_path / 'entries.json'}" in out
    arguments = ["submit-all", tmp_path / "entries.json", "--submissions", tmp_path / "entries"]
    path = tmp_path / "entries" / "enumerated-digits" / "uniform.json"
    told = f"verify it: python -m leaderboard verify --live --record {path}"
    assert f"new; {told}" in run_here(cli, arguments, monkeypatch, capsys)[1]
    assert told not in run_here(cli, arguments, monkeypatch, capsys)[1]
    path.write_text("{}")
    assert f"changed; {told}" in run_here(cli, arguments, monkeypatch, capsys)[1]


def test_a_description_without_runs_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "entries.json").write_text('{"entries": [{"name": "mine"}]}')
    code, _, errors = run_here(cli, ["submit-all", tmp_path / "entries.json"], monkeypatch, capsys)
    assert code == 2 and "entry 0 must have a name and runs" in errors


def test_a_method_that_the_suite_lacks_is_named(monkeypatch, capsys):
    code, _, errors = run_here(describe, ["--method", "rndom"], monkeypatch, capsys)
    assert code == 2 and "Did you mean 'random'" in errors
