from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from agents.hyperparams import read_hyperparameters
from agents.synthetic import TASKS, InventedAccuracy, invented_problem
from agents.tune import DRAWS, HELD_OUT, SPACES, ends, tune
from agents.tune import main as tune_command
from benchmarks.search.suites import SUITES
from tests.helpers import run_here

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "tune"


def test_no_benchmark_reports_what_is_tuned_on():
    reported = {problem.task for suite in SUITES.values() for problem in suite.problems}
    assert not reported & set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_invented_losses_leave_something_to_find(task):
    problem = invented_problem(task, seed=1)
    assert problem.accuracy(problem.decisions.uncompressed)[0] == problem.accuracy_model.baseline
    random = problem.accuracy(problem.random(np.random.default_rng(0), 400))
    uniform, best = ends(task, 1)
    assert random.mean() < uniform < best and random.max() < best < problem.accuracy_model.baseline
    again = InventedAccuracy.draw(problem.decisions, 1)
    rows = problem.random(np.random.default_rng(0), 50)
    assert np.array_equal(again(rows), problem.accuracy_model(rows))
    assert not np.array_equal(InventedAccuracy.draw(problem.decisions, 2)(rows), again(rows))


@pytest.mark.parametrize("algorithm", sorted(SPACES))
def test_present_settings_lie_in_the_space(algorithm):
    present = read_hyperparameters(algorithm, "ChannelPrune-v0")
    for name, where in SPACES[algorithm].items():
        assert present[name] in where.values if where.values else where.low <= present[name] <= where.high


def test_the_zoos_page_says_what_the_trials_say():
    page = " ".join((ROOT / "agents" / "README.md").read_text().split())
    worths = {path.stem: trials_of(path) for path in sorted((RESULTS).glob("*.csv"))}
    ppo, ddpg, td3 = (worths[name] for name in ("ppo", "ddpg", "td3"))
    assert f"`ppo`, {len(ppo)} trials: {max(ppo):.2f} where the settings before had {ppo[0]:.2f}" in page
    found = re.search(
        r"no trial had: ([\d.]+); the settings before: ([\d.]+) .*on (\d) of", (RESULTS / "ppo.yml").read_text()
    )
    told, before, wins = float(found[1]), float(found[2]), found[3]
    assert f"on the other draws {told:.2f} against {before:.2f}, better on {wins} of 5" in page
    assert f"`ddpg`, {len(ddpg)} trials, and `td3`, {len(td3)}: none was better" in page
    assert max(ddpg) == ddpg[0] and max(td3) == td3[0]  # the first trial has the present settings
    others = [sorted(trials)[-2] for trials in (ddpg, td3)]
    assert f"({ddpg[0]:.2f} and {td3[0]:.2f}; next {others[0]:.2f} and {others[1]:.2f})" in page


def trials_of(path):
    with path.open(newline="") as file:
        return [float(row["worth"]) for row in csv.DictReader(file)]


def test_settings_are_compared_on_draws_that_no_trial_had():
    assert not set(DRAWS) & set(HELD_OUT)


def test_a_study_goes_on_where_it_was(tmp_path):
    journal = tmp_path / "ppo.journal"
    _, _, before = tune("ppo", 1, 3, journal)
    best, value, present = tune("ppo", 2, 3, journal)
    assert present == before and value >= present
    assert set(best) == set(read_hyperparameters("ppo", "ChannelPrune-v0"))
    assert tune("ppo", 2, 3, journal)[1:] == (value, present)  # nothing is left to do
    first, *rows = (tmp_path / "ppo.csv").read_text().splitlines()
    assert first.startswith("trial,worth,draws,learning_rate") and len(rows) == 2


def test_the_command_writes_settings_that_the_zoo_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("agents.tune.worth", lambda algorithm, settings, *_: float(settings["n_epochs"] == 5))
    arguments = ["--algo", "ppo", "--trials", "9", "--episodes", "2", "--out", tmp_path]
    assert run_here(tune_command, arguments, monkeypatch, capsys)[0] == 0
    text = (tmp_path / "ppo.yml").read_text()
    assert yaml.safe_load(text)["default"]["n_epochs"] == 5
    assert "the settings before: 0.000 (better on 5 of 5)" in text


def test_settings_that_are_better_by_chance_are_not_proposed(tmp_path, monkeypatch, capsys):
    def worth(algorithm, settings, episodes, draw):
        return float((settings["n_epochs"] == 5) == (draw in DRAWS))

    monkeypatch.setattr("agents.tune.worth", worth)
    arguments = ["--algo", "ppo", "--trials", "9", "--episodes", "2", "--out", tmp_path]
    assert run_here(tune_command, arguments, monkeypatch, capsys)[0] == 0
    text = (tmp_path / "ppo.yml").read_text()
    assert "Not better there" in text
    assert yaml.safe_load(text)["default"] == read_hyperparameters("ppo", "ChannelPrune-v0")


def test_a_study_begun_again_proposes_something_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("agents.tune.worth", lambda algorithm, settings, *_: settings["learning_rate"])
    for trials in (2, 3, 4):
        tune("ppo", trials, 2, tmp_path / "ppo.journal")
    told = [line.split("draws ")[1] for line in capsys.readouterr().out.splitlines() if line.startswith("trial")]
    assert len(told) == 4 and len(set(told)) == 4


def test_the_present_settings_are_tried_though_no_trials_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr("agents.tune.worth", lambda algorithm, settings, *_: settings["learning_rate"])
    tune("ppo", 1, 2, tmp_path / "ppo.journal")
    changed = {**read_hyperparameters("ppo", "ChannelPrune-v0"), "learning_rate": 0.0005}
    monkeypatch.setattr("agents.tune.read_hyperparameters", lambda *_: changed)
    assert tune("ppo", 1, 2, tmp_path / "ppo.journal")[2] == 0.0005


def test_unknown_algorithms_are_told(tmp_path, monkeypatch, capsys):
    code, _, errors = run_here(tune_command, ["--algo", "sca", "--out", tmp_path], monkeypatch, capsys)
    assert code == 2 and "Did you mean 'sac'" in errors
