import pytest

from benchmarks.search.entries import entries, track_of
from benchmarks.search.jobs import Job, perform
from benchmarks.search.suites import DIGITS, EVALUATIONS, SUITES
from leaderboard.tracks import load_tracks


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
