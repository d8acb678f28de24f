from __future__ import annotations

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import kendalltau

from benchmarks.fidelity import __main__ as fidelity
from benchmarks.fidelity import refit
from benchmarks.fidelity.exploitation import found_by_search, gap
from benchmarks.fidelity.refit import found_within, surrogate_problems
from benchmarks.fidelity.report import GAPS, write_report
from benchmarks.fidelity.transfer import rows_for, transfer_curve
from benchmarks.finetuned import __main__ as command
from benchmarks.finetuned.correlation import correlations
from benchmarks.finetuned.measure import FinetuningPlan, measure, random_strategies
from compress_gym import Problem
from compress_gym.kinds import get_case
from compress_gym.making import collect as collect_module
from compress_gym.making.collect import collect
from compress_gym.making.fit import FitSettings, fit_surrogate
from compress_gym.making.folds import errors, held_out_predictions, learning_curve
from compress_gym.making.front import front_order, label_ceiling
from compress_gym.problem.scores.strategies import MeasuredStrategies
from compress_gym.support.cards import read_card
from compress_gym.support.processor import processor_name
from compress_gym.tasks import Task, get_task
from tests.helpers import run_here, write_tiny_task

DIGITS = get_case("ChannelPrune-v0", "digits-cnn")


def labels(truth, images, rng):
    """Correct images of two halves for strategies of these true accuracies."""
    return rng.binomial(images // 2, np.stack([truth, truth], axis=1))


def test_the_ceiling_is_what_a_perfect_predictor_reaches():
    rng, images = np.random.default_rng(0), 2000
    truth = rng.uniform(0.6, 0.75, size=20_000)
    correct = labels(truth, images, rng)
    halves, live = correct / (images // 2), correct.sum(1) / images
    part = front_order(truth, live, halves, np.linspace(0.05, 1.0, len(truth)))[4]
    assert part["strategies"] == 400
    assert part["share_of_ceiling"] == pytest.approx(1.0, abs=0.15)
    assert part["tau_of_halves"] < part["kendall_tau"] < 1


@pytest.mark.parametrize("images", [400, 2000])
def test_the_ceiling_of_all_is_what_a_perfect_predictor_reaches(images):
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.1, 0.95, size=4000) ** 0.5
    correct = labels(truth, images, rng)
    stated = label_ceiling(correct / (images // 2))
    reached = kendalltau(truth, correct.sum(1)).statistic
    assert stated["tau_of_halves"] < reached - 0.01
    assert stated["ceiling"] == pytest.approx(reached, abs=0.006)


def test_small_parts_have_no_numbers():
    part = front_order(np.arange(20.0), np.arange(20.0), np.zeros((20, 2)), np.linspace(0, 1, 20))[0]
    assert "kendall_tau" not in part and part["strategies"] < 10


def test_the_gap_by_hand():
    facts = gap(np.array([0.9, 0.8, 0.7]), np.array([0.8, 0.85, 0.7]))
    assert facts["signed_mean"] == pytest.approx(0.05 / 3, abs=1e-5)
    assert facts["loss_from_trusting"] == pytest.approx(0.05)
    assert facts["best_live"] == 0.85 and facts["live_of_the_surrogates_choice"] == 0.8
    assert facts["p90_absolute"] == pytest.approx(np.quantile([0.1, 0.05, 0.0], 0.9), abs=1e-5)


def test_search_returns_distinct_best_strategies():
    values = np.linspace(0, 1, 16).reshape(4, 4)
    problem = Problem.from_table(
        {"a": (1, 2, 3, 4), "b": (1, 2, 3, 4)},
        np.indices((4, 4)).reshape(2, -1).T,
        values.ravel(),
        {"macs": values.ravel() + 1},
        budget=1.0,
        reward="accuracy",
    )
    found = found_by_search(problem, "random", range(2), best=2, evaluations=300)
    assert found.tolist() == [[3, 3], [3, 2], [3, 3], [3, 2]]


def test_searches_look_within_what_was_sampled_over_and_within_latency():
    case = get_case("ChannelPrune-v0", "cifar10-resnet20")
    problems = surrogate_problems(case, case.surrogate(), 0.5)
    assert {key: problem.cost for key, problem in problems.items()} == {
        "exploitation": "macs",
        "exploitation_latency_ms": "latency_ms",
    }
    for problem in problems.values():
        rows = found_within(case, problem, "random", range(2), best=3)
        costs = problem.costs(rows)[problem.cost]
        assert len(rows) == 6 and (costs <= 0.5 * problem.baseline_costs[problem.cost] * (1 + 1e-9)).all()


@pytest.mark.parametrize("env", ["MixedQuant", "JointPQ"])
def test_searches_of_bits_look_at_another_device_too(env):
    case = get_case(env, "cifar10-resnet20")
    surrogate, decisions = case.surrogate(), case.decisions()
    problems = surrogate_problems(case, surrogate, 0.4)
    latency = {"MixedQuant": "exploitation_latency_ms", "JointPQ": "exploitation"}[env]
    assert problems[latency].origin == {"device": "bismo-edge"} and problems[latency].budget == 0.4
    assert list(problems) == [key for key in GAPS if key in ("exploitation", latency, "exploitation_other_device")]
    other = problems["exploitation_other_device"]
    least = other.costs(other.cheapest)["latency_ms"][0] / other.baseline_costs["latency_ms"]
    assert other.origin == {"device": "bitfusion"} and other.budget == pytest.approx(0.6 * least + 0.4)
    rows = found_within(case, other, "random", range(2), best=3)
    strategies = [decisions.describe(row) for row in rows]
    assert all(s[d.name] in (2, 4, 8) for s in strategies for d in decisions.decisions if d.kind != "channels")
    there = np.array([other.decisions.encode(strategy) for strategy in strategies])
    assert other.evaluate(there).feasible.all() and np.array_equal(other.accuracy(there), surrogate(rows))
    cheap = refit.other_device_problem(case, surrogate, 0.1)
    assert cheap.origin == other.origin and cheap.budget == pytest.approx(0.9 * least + 0.1)
    # 0.31 is the least latency of bits alone on bismo-edge.
    assert "exploitation_latency_ms" not in surrogate_problems(case, surrogate, 0.3)


def test_cross_validation_and_curve_on_a_real_table():
    table, decisions = DIGITS.measured(), DIGITS.decisions()
    rows = decisions.enumerate()[np.random.default_rng(0).permutation(decisions.count)[:600]]
    fit = partial(fit_surrogate, settings=FitSettings(epochs=100))  # a third, for time
    predicted, uncertain = held_out_predictions(decisions, rows, table(rows), table.baseline, fit)
    assert errors(predicted, table(rows))["kendall_tau"] > 0.8
    assert (uncertain >= 0).all() and uncertain.max() > 0
    curve = learning_curve(decisions, rows, table(rows), table.baseline, fit)
    assert [p["rows"] for p in curve] == [250, 480]
    assert curve[-1]["mae"] < curve[0]["mae"] * 1.1


def test_correlations_find_what_is_planted():
    rng, images = np.random.default_rng(0), 2000
    truth = rng.uniform(0.6, 0.9, size=60)
    unrelated = labels(rng.uniform(0.1, 0.9, size=60), images, rng)
    correct = np.stack([unrelated, labels(truth - 0.2, images, rng), labels(truth, images, rng)], axis=1)
    noise, signal, ceiling = correlations(correct, images, ("noise", "signal", "fine-tuned"), resamples=200)
    assert noise["interval"][0] < 0 < noise["interval"][1]
    assert signal["kendall_tau"] > 0.8 and signal["interval"][0] > 0.7 and ceiling["kendall_tau"] > 0.8


def test_random_strategies_are_at_the_budget():
    plan, terms = FinetuningPlan(strategies=20), DIGITS.cost_terms()
    rows = random_strategies(DIGITS, plan)
    assert rows.shape == (20, 5) and np.array_equal(rows, random_strategies(DIGITS, plan))
    macs = terms.evaluate(np.concatenate([rows, DIGITS.decisions().uncompressed[None]]))[:, terms.column("macs")]
    assert np.abs(macs[:-1] / macs[-1] / 0.5 - 1).max() <= 0.05


def test_halves_that_are_measured_apart_are_what_is_measured_at_once(tmp_path, monkeypatch):
    plan = FinetuningPlan(strategies=2, epochs=1)
    whole = measure(DIGITS, plan, tmp_path / "whole", workers=1)
    assert measure(DIGITS, plan, tmp_path / "apart", workers=1, only="after") is None
    apart = measure(DIGITS, plan, tmp_path / "apart", workers=2, only="before")
    assert np.array_equal(whole.correct, apart.correct) and whole.correct.shape == (2, 5, 2)
    assert whole.fine_tuned_on == whole.scored_on == apart.scored_on == (processor_name(),)
    for measured, told in ((None, "half of it is measured"), (whole, "| adaptive-bn+finetune-2 |")):
        monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
        monkeypatch.setattr(command, "correlations", partial(correlations, resamples=20))
        monkeypatch.setattr(command, "measure", lambda *_, measured=measured: measured)
        assert told in CliRunner().invoke(command.main, ["digits-cnn"], catch_exceptions=False).output
    assert json.loads((tmp_path / "results" / "digits-cnn.json").read_text())["correct"] == whole.correct.tolist()
    assert f"Fine-tuned on {processor_name()};" in (tmp_path / "results" / "digits-cnn.md").read_text()


def _tiny(folder, **declared):
    """The tiny task with another declaration."""
    path = write_tiny_task(folder).folder
    (path / "task.json").write_text(json.dumps({**json.loads((path / "task.json").read_text()), **declared}))
    return Task.read(path)


GAPS_OF = {
    "ChannelPrune": {"exploitation": "MACs", "exploitation_latency_ms": "latency on bismo-edge"},
    "MixedQuant": {
        "exploitation": "bit operations",
        "exploitation_latency_ms": "latency on bismo-edge",
        "exploitation_other_device": "latency on bitfusion",
        "exploitation_other_device_cheap": "latency on bitfusion",
    },
}


@pytest.mark.parametrize("env", GAPS_OF)
def test_the_command_refits_checks_and_states_the_gap_within_each_cost(env, tmp_path, monkeypatch, capsys):
    case = get_case(env, _tiny(tmp_path, device="bismo-edge", options={"levels": 5}))
    monkeypatch.setattr(collect_module, "ENUMERABLE", 1)
    monkeypatch.setattr(collect_module, "PROBED", 2)
    monkeypatch.setattr(collect_module, "CORRUPTIONS", {})
    collect(case, case.task.folder, 1, 12, 0, "first")
    monkeypatch.setattr(fidelity, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(fidelity, "get_case", lambda *_: case)
    monkeypatch.setattr(fidelity, "UNSEEN_SEEDS", range(3))
    monkeypatch.setattr(fidelity, "UNSEEN_BUDGET", 0.8)
    monkeypatch.setattr(refit, "SEEDS", range(1))
    monkeypatch.setattr(refit, "BEST", 9)
    monkeypatch.setattr(refit, "BUDGETS", (0.9,))
    arguments = ["tiny", "--env", env, "--rounds", 9, "--work", tmp_path / "work"]
    code, text, errors = run_here(fidelity.main, arguments, monkeypatch, capsys)
    assert code == 0, errors
    report = case.name
    facts = json.loads((tmp_path / "results" / f"{report}.json").read_text())
    assert (tmp_path / "results" / f"{report}.md").read_text().strip() in text
    assert 1 <= len(facts["refits"]["rounds"]) < 5 and "searches find nothing that is not measured" in text
    measured, card = case.strategies(), read_card(case.asset("surrogate"))
    found = sum(r["strategies_added"] for r in facts["refits"]["rounds"])
    assert facts["rows"] == len(measured.strategies) == 12 + found
    assert np.array_equal(measured.accuracy, case.scorer()(measured.strategies)), "rows of the rounds are live scores"
    assert [key for key in GAPS if key in facts] == list(GAPS_OF[env])
    for key, told in GAPS_OF[env].items():
        assert facts[key]["strategies"] == 3 and f"at {facts[key]['budget']} of {told}, seeds 0-2**" in text
        assert card["stated_error"][key] == facts[key]
    assert case.surrogate()(measured.strategies).shape == (facts["rows"],)

    shipped, picture = case.asset("surrogate").read_bytes(), tmp_path / "results" / f"{report}.png"
    drawn = picture.stat().st_mtime_ns
    monkeypatch.setattr(fidelity, "UNSEEN_SEEDS", range(3, 7))
    arguments = ["tiny", "--env", env, "--no-fit", "--work", tmp_path / "work"]
    code, text, errors = run_here(fidelity.main, arguments, monkeypatch, capsys)
    assert code == 0, errors
    again, checked = json.loads((tmp_path / "results" / f"{report}.json").read_text()), case.asset("surrogate")
    assert checked.read_bytes() == shipped and picture.stat().st_mtime_ns == drawn and "seeds 3-6**" in text
    assert again.keys() == facts.keys() and {key for key in facts if facts[key] != again[key]} == set(GAPS_OF[env])
    new = read_card(checked)
    assert "--no-fit" in new.pop("checked")["command"] and new.keys() == card.keys()
    assert {key for key in card if card[key] != new[key]} == {"stated_error"}
    for key in GAPS_OF[env]:
        assert again[key]["strategies"] == 4 and new["stated_error"].pop(key) == again[key] != facts[key]
        del card["stated_error"][key]
    assert new["stated_error"] == card["stated_error"]


def test_gaps_are_stated_of_every_score_column(tmp_path, monkeypatch):
    """A loss is negated, so that more is better; what is predicted is made 0.25 too high."""
    whole = get_task("multi30k-ende")
    task = Task(whole.declared.model_copy(update={"device": None}), whole.folder)
    case = get_case("TransformerNAS-v0", task)

    def live_scores(case, rows, folder, workers):
        scores = case.surrogate().scores(rows, ("accuracy", "valid_loss"))
        higher = {"accuracy": scores["accuracy"] - 0.25, "valid_loss": scores["valid_loss"] + 0.25}
        return MeasuredStrategies(rows, np.zeros(len(rows), dtype=np.int64), higher)

    monkeypatch.setattr(fidelity, "live_scores", live_scores)
    monkeypatch.setattr(fidelity, "UNSEEN_SEEDS", range(2))
    (gap_within_macs,) = fidelity._exploitation(case, case.surrogate(), tmp_path, 1).values()
    assert gap_within_macs["cost"] == "macs" and gap_within_macs["signed_mean"] == pytest.approx(0.25)
    assert gap_within_macs["valid_loss"]["signed_mean"] == pytest.approx(0.25)
    assert gap_within_macs["valid_loss"]["best_live"] < 0 and gap_within_macs["valid_loss"]["strategies"] == 2


@pytest.mark.parametrize("other", [("--rounds", "1"), ("--no-check",)])
def test_a_check_alone_neither_refits_nor_skips_itself(other, monkeypatch, capsys):
    code, _, err = run_here(fidelity.main, ["digits-cnn", "--no-fit", *other], monkeypatch, capsys)
    assert code == 2 and "--no-fit only checks" in err


def test_rows_that_a_curve_needs():
    needed = rows_for([100, 200, 400], [0.5, 0.7, 0.6])
    assert needed(0.4) == needed(0.5) == 100 and needed(0.7) == 200 and needed(0.71) is None
    assert needed(0.6) == round(100 * 2**0.5)  # halfway between the first two, on a logarithmic scale


def test_transfer_from_pruning_on_real_rows(monkeypatch, tmp_path):
    case = get_case("JointPQ-v0", "digits-cnn")
    whole = case.strategies()
    chosen = np.random.default_rng(0).permutation(len(whole.strategies))[:300]
    measured = dataclasses.replace(
        whole, strategies=whole.strategies[chosen], rounds=whole.rounds[chosen], correct=whole.correct[chosen]
    )
    monkeypatch.setattr("benchmarks.fidelity.transfer.FITS", 1)
    monkeypatch.setattr("benchmarks.fidelity.transfer.PRUNING_ROWS", 1000)
    transfer = transfer_curve(case, measured, measured.baseline_correct / measured.images)
    assert [p["rows"] for p in transfer["curve"]] == [60, 125]
    assert transfer["pruning_surrogate"] == "1,000 strategies of ChannelPrune"
    needed = rows_for([60, 125], [p["from_nothing"] for p in transfer["curve"]])
    for point in transfer["curve"]:
        assert (
            point["from_pruning"] != point["from_nothing"] and min(point["from_pruning"], point["from_nothing"]) > 0.6
        )
        assert point["rows_from_nothing"] == needed(point["from_pruning"])
    held_out = {"mae": 0.01, "kendall_tau": 0.9, "tau_of_halves": 0.92, "ceiling": 0.96}
    facts = {
        "task": "digits-cnn",
        "cost": "latency_ms",
        "rows": 300,
        "broad_rows": 300,
        "held_out": {"broad_sample": held_out, "all_rows": held_out},
        "learning_curve": [{"rows": 240, **held_out}],
        "front": [],
        "refits": {"rounds": []},
        "transfer": transfer,
    }
    write_report("joint", facts, measured.accuracy, measured, tmp_path)
    text = (tmp_path / "joint.md").read_text()
    assert "APQ's transfer" in text and (tmp_path / "joint.png").stat().st_size > 10_000
