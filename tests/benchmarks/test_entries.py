import pytest

from benchmarks.search.entries import entries, track_of
from benchmarks.search.entries import main as make_entries
from benchmarks.search.jobs import Job, perform
from benchmarks.search.suites import DIGITS, EVALUATIONS, SUITES
from leaderboard.tracks import load_tracks
from tests.helpers import run_here


@pytest.mark.parametrize("problem", SUITES["standard"].problems, ids=lambda p: p.name)
def test_every_problem_of_the_suite_has_a_track(problem):
    track = track_of(problem, load_tracks())
    assert track is not None and track.evaluations == EVALUATIONS and track.seeds == SUITES["standard"].seeds


def test_a_method_becomes_an_entry_once_all_its_runs_are_there(tmp_path):
    jobs = [Job(DIGITS, method, seed, EVALUATIONS) for method in ("uniform", "ppo") for seed in range(2)]
    for job in jobs[:2]:
        perform(job, tmp_path / job.name)
    made = entries(jobs, tmp_path, load_tracks())
    uniform = next(made)
    assert (uniform.track, uniform.name, uniform.deterministic) == ("enumerated-digits", "uniform", True)
    assert [result.seed for result in uniform.results] == [0, 1]
    with pytest.raises(ValueError, match="ppo/seed-0 is missing or outdated; run: python -m benchmarks.search"):
        next(made)


def test_what_is_new_or_changed_is_told_with_the_command_that_verifies_it(tmp_path, monkeypatch, capsys):
    jobs = [Job(DIGITS, "uniform", seed, EVALUATIONS) for seed in range(2)]
    for job in jobs:
        perform(job, tmp_path / job.name)
    monkeypatch.setattr("benchmarks.search.entries.jobs_of", lambda _: jobs)
    arguments = ["--runs", tmp_path, "--submissions", tmp_path / "entries"]
    path = tmp_path / "entries" / "enumerated-digits" / "uniform.json"
    told = f"verify it: python -m leaderboard verify --live --record {path}"
    assert f"new; {told}" in run_here(make_entries, arguments, monkeypatch, capsys)[1]
    assert told not in run_here(make_entries, arguments, monkeypatch, capsys)[1]
    path.write_text("{}")
    assert f"changed; {told}" in run_here(make_entries, arguments, monkeypatch, capsys)[1]


def test_a_method_that_the_suite_lacks_is_named(monkeypatch, capsys):
    code, _, errors = run_here(make_entries, ["--method", "rndom"], monkeypatch, capsys)
    assert code == 2 and "Did you mean 'random'" in errors
