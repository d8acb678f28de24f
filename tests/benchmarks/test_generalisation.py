from __future__ import annotations

import json

import numpy as np

from benchmarks.search.generalisation import EVALUATIONS, Comparison, best_so_far, evaluations_to_reach, markdown
from benchmarks.search.generalisation import main as generalisation_command
from compress_gym.kinds import get_case, get_kind
from tests.helpers import run_here

PRUNED = get_case("ChannelPrune-v0", "digits-cnn")
SETTINGS = {"task": "x", "device": "d", "budget": 0.5}
COLUMNS = ("random 1", "random 100", "random 400", "evolution 100", "evolution 400")


def test_the_table_by_hand():
    searches = {name: (0.1 * n, 0.1 * n) for n, name in enumerate(COLUMNS, start=1)}
    rows = [Comparison("A-v0", SETTINGS, "network", 0.4, (0.5, 0.5), searches, needed) for needed in (12.5, None)]
    lines = markdown(rows, 100).splitlines()
    shared = "| A-v0 | x | d | 0.5 | network | 0.500 [0.500, 0.500] | 0.400 | 0.100 | 0.200 | 0.300 | 0.400 | 0.500 |"
    assert lines[-2:] == [f"{shared} 12.5 |", f"{shared} > 400 |"]


def test_searches_are_told_at_each_evaluation():
    problem = PRUNED.problem(reward="accuracy")
    curve = best_so_far(problem, "random", 3)
    asked = problem.random(np.random.default_rng(3), 1)
    assert len(curve) == EVALUATIONS[-1] and (np.diff(curve) >= 0).all()
    assert curve[0] == problem.accuracy(asked)[0]


def test_how_many_evaluations_match_a_policy():
    curves = np.array([[0.1, 0.2, 0.5], [0.3, 0.3, 0.4], [0.1, 0.1, 0.1]])
    assert evaluations_to_reach(0.2, curves) == 2
    assert evaluations_to_reach(0.4, curves) == 3
    assert evaluations_to_reach(0.5, curves) is None


def test_a_short_run_tests_what_is_held_out(tmp_path, monkeypatch, capsys):
    arguments = ["--env", "ChannelPrune-v0", "--seeds", "2", "--episodes", "1", "--out", tmp_path]
    assert run_here(generalisation_command, arguments, monkeypatch, capsys)[0] == 0
    rows = json.loads((tmp_path / "generalisation.json").read_text())["rows"]
    held_out = get_kind("ChannelPrune-v0").split.tests
    assert [(row["unseen"], row["settings"]) for row in rows] == [(h.unseen, h.settings) for h in held_out]
    assert all(0 < accuracy < 1 for row in rows for accuracy in row["policy"])
