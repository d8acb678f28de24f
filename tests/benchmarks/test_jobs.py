from __future__ import annotations

import re

import pytest

from agents.hyperparams import read_hyperparameters
from agents.learners import ALGORITHMS, action_type, build, train
from agents.runs import Run
from benchmarks.search.jobs import Job, jobs_of, perform
from benchmarks.search.suites import DIGITS, EVALUATIONS, SUITES
from benchmarks.search.versions import PROBLEM_SOURCES, _code, code_of, problem_version, run_version, sources_version
from benchmarks.search.versions import build as build_problem
from compress_gym.envs.compression import CompressionEnv
from tests.agents.test_search import Counting


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


def test_versions_see_code_but_not_its_comments():
    code = 'def f(x):\n    """Says."""\n    return x + 1\n'
    assert code_of(code) == code_of('# why\ndef f(x):\n    """Says more."""\n\n    return x + 1  # so\n')
    assert code_of(code) != code_of(code.replace("+ 1", "+ 2"))
    assert code_of('x = {"a": """b"""}') != code_of('x = {"a": """c"""}')


MOVED = """from old.place import helper

LIMIT = 3


def f(x):
    from old import place

    return helper(x, place) + LIMIT
"""


def test_versions_do_not_see_that_a_file_moved(tmp_path, monkeypatch):
    def version(text, *names):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        _code.cache_clear()
        return sources_version(names)

    monkeypatch.setattr("benchmarks.search.versions.ROOT", tmp_path)
    before = version(MOVED, "a.py")
    assert version("import sys\n" + MOVED.replace("old", "new.home"), "elsewhere/b.py") == before
    assert version(MOVED.replace("LIMIT = 3", "LIMIT = 4"), "a.py") != before
    assert version(MOVED, "a.py", "b.py") != before
    _code.cache_clear()


def test_versions_do_not_depend_on_the_order_of_files():
    assert sources_version(PROBLEM_SOURCES) == sources_version(PROBLEM_SOURCES[::-1])
    assert sources_version(PROBLEM_SOURCES) != sources_version(PROBLEM_SOURCES[1:])


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
