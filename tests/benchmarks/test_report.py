from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from agents.statistics import difference_interval, paired_difference_interval
from benchmarks.search.__main__ import RESULTS
from benchmarks.search.learning import learned, random_bests
from benchmarks.search.records import read_records
from benchmarks.search.references import Reference, best_found, freeze, reference
from benchmarks.search.report import answers, write_report
from benchmarks.search.scores import Results
from benchmarks.search.suites import DIGITS, PROBLEMS, SUITES, BenchmarkProblem, Suite
from benchmarks.search.versions import build as build_problem
from tests.benchmarks.examples import record


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
    ends = reference(DIGITS)
    low, optimum = ends.uniform, ends.best
    runs = [record("random", s, {1: low, 50: (low + optimum) / 2}) for s in range(2)]
    runs += [record("ppo", s, {1: low, 50: optimum}, final_policy=optimum) for s in range(2)]
    runs += [record("uniform", s, {1: low}, evaluations=1) for s in range(2)]
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


@pytest.mark.parametrize("name", ["quick", "standard"])
def test_the_stored_report_is_that_of_the_stored_runs(name, tmp_path):
    shutil.copy(RESULTS / f"{name}.json", tmp_path)
    records = read_records(RESULTS / f"{name}.csv")
    text = write_report(name, SUITES[name], records, tmp_path, "")
    assert text == (RESULTS / f"{name}.md").read_text()
    for ending in (".json", "-table.csv"):
        assert (tmp_path / f"{name}{ending}").read_text() == (RESULTS / f"{name}{ending}").read_text()


def test_references_are_chosen_among_what_runs_found_within_the_budget(tmp_path):
    problem = build_problem(DIGITS)
    fitting = problem.random(np.random.default_rng(0), 3)
    best = problem.decisions.uncompressed  # over the budget, as a run of an earlier one may be
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
