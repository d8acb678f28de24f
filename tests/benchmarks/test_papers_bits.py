"""HAQ, Galen and APQ: small comparisons from end to end, and the tables by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.papers import __main__ as papers
from benchmarks.papers import galen, haq
from benchmarks.papers.winners import LiveScores, held, spread, winner, winners
from compress_gym.envs.joint_pq import joint_pq_problem
from compress_gym.envs.mixed_quant import mixed_quant_problem
from compress_gym.tasks import get_task
from tests.helpers import run_here

TASK = get_task("digits-cnn")


def test_decisions_that_are_held_keep_accuracy_and_cost():
    whole = joint_pq_problem(budget=0.6, reward="accuracy")
    kept = {d.name: d.values[-1] for d in whole.decisions.decisions if d.kind == "channels"} | {"conv2.channels": 16}
    problem = held(whole, kept)
    rows = problem.random(np.random.default_rng(0), 20)
    same = np.stack([whole.decisions.encode(problem.describe(row)) for row in rows])
    here, there = problem.evaluate(rows), whole.evaluate(same)
    assert np.array_equal(here.accuracy, there.accuracy) and here.feasible.all() and there.feasible.all()
    assert np.allclose(here.costs["latency_ms"], there.costs["latency_ms"], rtol=1e-12)
    assert problem.cost_limit == pytest.approx(whole.cost_limit) and all(
        problem.describe(row)[name] == value for row in rows for name, value in kept.items()
    )
    with pytest.raises(ValueError, match="below the cheapest strategy"):
        held(whole.replace(budget=0.15), kept)


def test_a_live_problem_is_held_too():
    whole = mixed_quant_problem(accuracy="live", bits=(4, 8), budget=1.0, reward="accuracy")
    problem = held(whole, {d.name: 8 for d in whole.decisions.decisions[1:]})
    assert problem.decisions.count == 2 and problem.accuracy_model.source == "live"
    row = problem.decisions.sizes - 1
    assert problem.accuracy(row) == whole.accuracy(whole.decisions.sizes - 1)


@pytest.mark.parametrize("method", ["evolution", "ddpg"])
def test_a_winner_is_searched_once(method, tmp_path, monkeypatch):
    problem = mixed_quant_problem(device="bitfusion", budget=0.6, budget_rule="repair", reward="haq")
    path = tmp_path / "0.json"
    found = winner(problem, method, 30, 0, "MixedQuant-v0", path)
    assert found["evaluations"] == 30 and found["costs"]["latency_ms"] <= problem.cost_limit
    assert found["accuracy"] == problem.accuracy(problem.decisions.encode(found["strategy"]))[0]
    monkeypatch.setattr("benchmarks.papers.winners.search", None)
    monkeypatch.setattr("benchmarks.papers.winners.build", None)
    assert winner(problem, method, 30, 0, "MixedQuant-v0", path) == found
    with pytest.raises(KeyError, match="method='evolutions' is not known.*Did you mean 'evolution'"):
        winner(problem, "evolutions", 30, 0, "MixedQuant-v0", tmp_path / "1.json")


def test_winners_of_two_processes_are_those_of_one(tmp_path):
    problem = mixed_quant_problem(device="bitfusion", budget=0.6, budget_rule="repair", reward="haq")

    def found(name, workers):
        files = [tmp_path / name / f"{seed}.json" for seed in range(3)]
        return [f["strategy"] for f in winners(problem, "evolution", 40, "MixedQuant-v0", files, "", workers)]

    assert found("two", 2) == found("one", 1)


def test_live_scores_are_kept(tmp_path, monkeypatch):
    decisions = TASK.decisions("MixedQuant")
    scores = LiveScores(TASK, decisions, tmp_path / "live.json")
    best, worst = decisions.describe([2] * 10), decisions.describe([0] * 10)
    table = TASK.measured("MixedQuant")
    assert scores(best) == table([[2] * 10])[0] and scores(worst) == table([[0] * 10])[0]
    assert scores.rank([worst, best, worst], 2) == [best, worst]
    with monkeypatch.context() as equal:
        equal.setattr(scores, "all", lambda strategies: [0.5] * len(strategies))
        assert scores.rank([worst, best, worst], 2) == [worst, best]  # the earlier one
    monkeypatch.setattr(type(TASK), "live", None)
    assert LiveScores(TASK, decisions, tmp_path / "live.json")(best) == scores(best)


def test_live_scores_of_two_processes_are_those_of_one(tmp_path):
    decisions = TASK.decisions("MixedQuant")
    strategies = [decisions.describe(row) for row in ([2] * 10, [0] * 10, [1] * 10, [2] * 10)]
    found = LiveScores(TASK, decisions, tmp_path / "live.json", workers=2).all(strategies)
    assert found == LiveScores(TASK, decisions, tmp_path / "alone.json").all(strategies)
    assert len(json.loads((tmp_path / "live.json").read_text())) == 3


def test_mean_and_spread():
    assert spread([0.9, 0.7]) == {"mean": pytest.approx(0.8), "std": pytest.approx(0.1 * 2**0.5)}
    assert spread([0.9]) == {"mean": 0.9, "std": 0.0}


def test_haqs_budgets_are_the_papers_where_its_bits_are():
    assert haq.bit_pairs(mixed_quant_problem(device="bitfusion", budget=1.0)) == haq.OTHER_BITS
    task = get_task("cifar10-resnet20")
    from compress_gym.decisions import BitValues, bit_decisions

    class Asked:
        decisions = bit_decisions(task.network(), BitValues((2, 3, 4, 5, 6, 7, 8)))

    assert haq.bit_pairs(Asked) == haq.PAPERS_BITS


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(papers, "RESULTS", tmp_path / "results")

    def command(name, *arguments):
        code, out, err = run_here(papers.main, [name, *arguments, "--work", tmp_path / "work"], monkeypatch, capsys)
        assert code == 0, err
        facts = json.loads((tmp_path / "results" / f"{name}-digits-cnn.json").read_text())
        assert (tmp_path / "results" / f"{name}-digits-cnn.png").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / "results" / f"{name}-digits-cnn.md").read_text() in out
        return facts, out

    return command


def test_haq_from_end_to_end(run):
    pilot = ("haq", "--method", "evolution", "--evaluations", "60", "--seeds", "2", "--epochs", "0")
    facts, text = run(*pilot)
    for row in facts["rows"]:
        mixed = row["mixed"]["validation"]
        assert row["uniform"]["validation"] <= row["best_of_all"] and mixed["mean"] <= row["best_of_all"]
        gain = row["difference"]
        assert gain["validation"] == pytest.approx(mixed["mean"] - row["uniform"]["validation"])
        assert gain["test"] == pytest.approx(row["mixed"]["test"]["mean"] - row["uniform"]["test"])
        assert row["more_than_the_spread"] == (gain["validation"] > mixed["std"])
        assert row["finetuned_test"] == {"uniform": [], "mixed": []}
    assert "recalled" in text and "62.44 → 67.40" in text and "| 4/4 |" in text
    again, _ = run(*pilot)
    assert again["rows"] == facts["rows"]  # seconds too: nothing was searched again


def test_galen_from_end_to_end(run):
    pilot = ("--method", "evolution", "--evaluations", "40", "--seeds", "2", "--epochs", "1")
    facts, text = run("galen", *pilot, "--budget", "0.5", "--budget", "0.15")
    rows = {(r["budget"], r["approach"]): r for r in facts["rows"]}
    assert len(rows) == 6 and 0.9 < facts["baseline_test"] <= 1
    assert "error" in rows[0.15, "pruning alone"] and "nothing fits" in text and "its abstract" in text
    half, low = facts["differences"]
    alone = max(rows[0.5, a]["validation"]["mean"] for a in ("pruning alone", "quantisation alone"))
    assert half["difference"] == pytest.approx(rows[0.5, "joint"]["validation"]["mean"] - alone)
    assert low["difference"] is None and "neither fits" in text
    assert 0 < rows[0.5, "joint"]["finetuned_test"] <= 1


def test_apq_from_end_to_end(run):
    facts, text = run("apq", "--evaluations", "60", "--seeds", "2", "--latency", "0.5", "--energy", "0.3")
    for row in facts["rows"]:
        whole = joint_pq_problem(device="bitfusion").baseline_costs[row["cost"]]
        assert row[row["cost"]] <= row["budget"] * whole * (1 + 1e-6)
    assert [r["approach"] for r in facts["rows"]] == ["joint", "in sequence"] * 2 and "README" in text


def test_galens_differences_by_hand():
    def row(approach, mean, std):
        return {"budget": 0.3, "method": "ddpg", "approach": approach, "validation": {"mean": mean, "std": std}}

    rows = [row("joint", 0.9, 0.01), row("pruning alone", 0.85, 0.06), row("quantisation alone", 0.8, 0.0)]
    (stated,) = galen.differences(rows)
    assert stated["best_alone"] == "pruning alone" and stated["difference"] == pytest.approx(0.05)
    assert not stated["more_than_the_spread"]
