"""HAQ, Galen and APQ: small comparisons from end to end, and the tables by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.papers import __main__ as papers
from benchmarks.papers import apq, galen, haq
from benchmarks.papers.live_scores import PaperScores
from benchmarks.papers.winners import exceeds, held, points, searches_folder, spread, winner, winners, within
from compress_gym.kinds import Case, get_case
from tests.helpers import run_here

QUANTISED, JOINT = (get_case(kind, "digits-cnn") for kind in ("MixedQuant-v0", "JointPQ-v0"))


def test_decisions_that_are_held_keep_accuracy_and_cost():
    whole = JOINT.problem(budget=0.6, reward="accuracy")
    kept = {d.name: d.values[-1] for d in whole.decisions.decisions if d.kind == "channels"} | {"conv2.channels": 16}
    problem = held(JOINT, whole, kept)
    rows = problem.random(np.random.default_rng(0), 20)
    same = np.stack([whole.decisions.encode(problem.describe(row)) for row in rows])
    here, there = problem.evaluate(rows), whole.evaluate(same)
    assert np.array_equal(here.accuracy, there.accuracy) and here.feasible.all() and there.feasible.all()
    assert np.allclose(here.costs["latency_ms"], there.costs["latency_ms"], rtol=1e-12)
    assert problem.cost_limit == pytest.approx(whole.cost_limit) and all(
        problem.describe(row)[name] == value for row in rows for name, value in kept.items()
    )
    assert held(JOINT, whole.replace(budget=0.15), kept) is None


def test_a_problem_within_a_budget_that_nothing_keeps_is_none():
    whole = JOINT.problem(budget=1.0, reward="accuracy")
    cheapest = whole.costs(whole.cheapest)["latency_ms"][0] / whole.baseline_costs["latency_ms"]
    assert within(whole, cheapest).budget == cheapest and within(whole, 0.99 * cheapest) is None


def test_a_live_problem_is_held_too():
    whole = QUANTISED.problem(accuracy="live", bits=(4, 8), budget=1.0, reward="accuracy")
    problem = held(QUANTISED, whole, {d.name: 8 for d in whole.decisions.decisions[1:]})
    assert problem.decisions.count == 2 and problem.accuracy_model.source == "live"
    row = problem.decisions.uncompressed
    assert problem.accuracy(row) == whole.accuracy(whole.decisions.uncompressed)


@pytest.mark.parametrize("method", ["evolution", "ddpg"])
def test_a_winner_is_searched_once(method, tmp_path, monkeypatch):
    problem = QUANTISED.problem(device="bitfusion", budget=0.6, budget_rule="repair", reward="haq")
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
    problem = QUANTISED.problem(device="bitfusion", budget=0.6, budget_rule="repair", reward="haq")

    def found(name, workers):
        files = [tmp_path / name / f"{seed}.json" for seed in range(3)]
        return [f["strategy"] for f in winners(problem, "evolution", 40, "MixedQuant-v0", files, "", workers)]

    assert found("two", 2) == found("one", 1)


def test_live_scores_are_kept(tmp_path, monkeypatch):
    decisions = QUANTISED.decisions()
    scores = PaperScores(QUANTISED, decisions, tmp_path / "live")
    best, worst = decisions.describe([2] * 10), decisions.describe([0] * 10)
    table = QUANTISED.measured()
    assert scores(best) == table([[2] * 10])[0] and scores(worst) == table([[0] * 10])[0]
    assert scores.rank([worst, best, worst], 2) == [best, worst]
    with monkeypatch.context() as equal:
        equal.setattr(scores, "all", lambda strategies: [0.5] * len(strategies))
        assert scores.rank([worst, best, worst], 2) == [worst, best]  # the earlier one
    monkeypatch.setattr(Case, "scorer", None)
    assert PaperScores(QUANTISED, decisions, tmp_path / "live")(best) == scores(best)


def test_live_scores_of_two_processes_are_those_of_one(tmp_path):
    decisions = QUANTISED.decisions()
    strategies = [decisions.describe(row) for row in ([2] * 10, [0] * 10, [1] * 10, [2] * 10)]
    found = PaperScores(QUANTISED, decisions, tmp_path / "live", workers=2).all(strategies)
    assert found == PaperScores(QUANTISED, decisions, tmp_path / "alone").all(strategies)
    assert len(json.loads((tmp_path / "live" / "scores.json").read_text())) == 3


def test_live_scores_of_other_decisions_or_trainings_are_not_mixed_in(tmp_path):
    decisions = QUANTISED.decisions()
    PaperScores(QUANTISED, decisions, tmp_path)
    with pytest.raises(ValueError, match=r"another measurement \(other: bf16\)"):
        PaperScores(QUANTISED, decisions, tmp_path, bf16=True)
    with pytest.raises(ValueError, match=r"\(other: decisions\)"):
        PaperScores(QUANTISED, JOINT.decisions(), tmp_path)


def test_searches_of_other_accuracies_or_allowances_have_folders_of_their_own(tmp_path):
    folder = searches_folder(tmp_path, QUANTISED, 60)
    assert folder == searches_folder(tmp_path, QUANTISED, 60)
    others = [searches_folder(tmp_path, *other) for other in ((JOINT, 60), (QUANTISED, 61))]
    assert len({folder, *others}) == 3 and all(path.is_relative_to(tmp_path) for path in (folder, *others))


def test_mean_and_spread():
    assert spread([0.9, 0.7]) == {"mean": pytest.approx(0.8), "std": pytest.approx(0.1 * 2**0.5)}
    assert spread([0.9]) == {"mean": 0.9, "std": 0.0}


def test_haqs_budgets_are_the_papers_where_its_bits_are():
    assert haq.bit_pairs(QUANTISED.problem(device="bitfusion", budget=1.0)) == haq.OTHER_BITS

    class Asked:
        decisions = get_case("MixedQuant-v0", "cifar10-resnet20").decisions()

    assert haq.bit_pairs(Asked) == haq.PAPERS_BITS


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(papers, "RESULTS", tmp_path / "results")

    def command(name, *arguments, report):
        code, out, err = run_here(papers.main, [name, *arguments, "--work", tmp_path / "work"], monkeypatch, capsys)
        assert code == 0, err
        facts = json.loads((tmp_path / "results" / f"{report}.json").read_text())
        assert (tmp_path / "results" / f"{report}.png").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / "results" / f"{report}.md").read_text() in out
        assert "earlier surrogate" not in out  # but the one that is shipped
        return facts, out

    return command


def test_haq_from_end_to_end(run):
    methods = ("--method", "evolution", "--method", "annealing")
    pilot = ("haq", *methods, "--evaluations", "60", "--seeds", "2", "--epochs", "0")
    facts, text = run(*pilot, report="haq-digits-cnn-bitfusion")
    assert facts["asset_hash"] == QUANTISED.asset_hash()
    assert [(tuple(r["bits"]), r["method"]) for r in facts["rows"]] == [
        (bits, method) for bits in haq.OTHER_BITS for method in methods[1::2]
    ]
    for row in facts["rows"]:
        mixed, uniform = row["mixed"], row["uniform"]
        assert uniform["validation"] <= row["best_of_all"] and mixed["validation"]["mean"] <= row["best_of_all"]
        assert mixed["latency"] <= row["latency"] and mixed["predicted"] == mixed["validation"]  # all are measured
        for split in ("validation", "test"):
            better = row["better"][split]
            assert better["difference"] == pytest.approx(mixed[split]["mean"] - uniform[split])
            assert better["more_than_the_spread"] == (better["difference"] > mixed[split]["std"])
    assert facts["finetuned"] == []
    assert "recalled" in text and "4 bits: 62.44 → 67.40" in text and "| 4/4 |" in text
    for row in facts["rows"]:
        cell = f"| {row['method']} (60) | {row['mixed']['latency']:.3f} | {points(row['mixed']['predicted'])} |"
        assert cell in text
    again, _ = run(*pilot, report="haq-digits-cnn-bitfusion")
    assert again["rows"] == facts["rows"]  # seconds too: nothing was searched again


def test_haq_scores_the_two_best_before_and_after_finetuning(run, tmp_path):
    methods = ("--method", "random", "--method", "annealing")
    asked = ("--evaluations", "20", "--longer", "300")
    pilot = ("haq", *methods, *asked, "--seeds", "2", "--epochs", "1", "--no-bf16")
    facts, text = run(*pilot, report="haq-digits-cnn-bitfusion")
    decisions = QUANTISED.problem(device="bitfusion", budget=1.0).decisions
    again = PaperScores(QUANTISED, decisions, tmp_path / "again")
    assert [tuned["bits"] for tuned in facts["finetuned"]] == [list(bits) for bits in haq.OTHER_BITS]
    for tuned in facts["finetuned"]:
        of_both = [row for row in facts["rows"] if row["bits"] == tuned["bits"]]
        assert tuned["uniform"][0]["strategy"] == of_both[0]["uniform"]["strategy"]
        assert all(1 <= len(tuned[name]) <= 2 for name in ("uniform", "mixed"))
        found = {}
        for row in of_both:
            work = tmp_path / "work" / "digits-cnn" / "bitfusion"
            folder = searches_folder(work, QUANTISED, row["evaluations"]) / "-".join(map(str, tuned["bits"]))
            files = [folder / f"{row['method']}-{seed}.json" for seed in range(2)]
            found[f"{row['method']} ({row['evaluations']})"] = [json.loads(p.read_text())["strategy"] for p in files]
        pooled = [strategy for strategies in found.values() for strategy in strategies]
        assert [best["strategy"] for best in tuned["mixed"]] == again.rank(pooled, 2)
        for best in tuned["mixed"]:
            assert best["found_by"] == [name for name, strategies in found.items() if best["strategy"] in strategies]
            assert f"| {', '.join(best['found_by'])} |" in text
    finders = {name for tuned in facts["finetuned"] for best in tuned["mixed"] for name in best["found_by"]}
    assert "annealing (300)" in finders and len(finders) > 1
    first = facts["finetuned"][0]["mixed"][0]
    assert first["test_before"] == again(first["strategy"], "test") and "before and after 1 epoch of" in text
    assert first["test"] == again(first["strategy"], "test", 1)


def test_haq_lets_searches_without_learning_ask_more(run, tmp_path, monkeypatch, capsys):
    methods = ("--method", "ddpg", "--method", "annealing")
    pilot = ("haq", *methods, "--evaluations", "20", "--seeds", "1", "--epochs", "0")
    facts, text = run(*pilot, "--longer", "300", report="haq-digits-cnn-bitfusion")
    asked = [("ddpg", 20), ("annealing", 20), ("annealing", 300)]
    assert [(row["method"], row["evaluations"]) for row in facts["rows"]] == 3 * asked
    short, long = facts["rows"][1::3], facts["rows"][2::3]
    assert all(
        a["mixed"]["validation"]["mean"] < b["mixed"]["validation"]["mean"] for a, b in zip(short, long, strict=True)
    )
    assert "| annealing (300) |" in text and "| ddpg (20) |" in text
    code, _, err = run_here(papers.main, [*pilot, "--longer", "20", "--work", tmp_path], monkeypatch, capsys)
    assert code == 2 and "--longer 20 must be more than --evaluations 20" in err
    learner = ["haq", "--method", "ddpg", "--longer", "900", "--work", tmp_path]
    code, _, err = run_here(papers.main, learner, monkeypatch, capsys)
    assert code == 2 and "--longer 900 is for searches without learning, and --method ['ddpg'] has none" in err


PLANS = {haq: haq.HAQPlan, galen: galen.GalenPlan, apq: apq.APQPlan}
STORED = [(m, p) for m in PLANS for p in papers.RESULTS.glob(f"{m.__name__.rpartition('.')[2]}-*.json")]


@pytest.mark.parametrize(("module", "path"), STORED, ids=lambda given: getattr(given, "stem", ""))
def test_stored_tables_are_those_of_their_facts(module, path):
    facts = json.loads(path.read_text())
    assert module.table(facts, PLANS[module](**facts["plan"])) == path.with_suffix(".md").read_text()


@pytest.mark.parametrize(("module", "path"), STORED, ids=lambda given: getattr(given, "stem", ""))
def test_stored_tables_are_of_the_shipped_accuracies_or_say_otherwise(module, path):
    facts = json.loads(path.read_text())
    shipped = get_case(module.KIND, facts["plan"]["task"]).asset_hash()
    told_otherwise = "not by the shipped one" in path.with_suffix(".md").read_text()
    assert facts["asset_hash"] == shipped if "asset_hash" in facts else told_otherwise


def test_haq_draws_equal_bits_once_and_each_search():
    def row(latency, method, evaluations, mean):
        found = {"test": {"mean": mean, "std": 0.01}}
        given = {"latency": latency, "method": method, "evaluations": evaluations}
        return {**given, "uniform": {"test": latency}, "mixed": found}

    rows = [row(0.5, "ddpg", 600, 0.6), row(0.5, "tpe", 600, 0.7), row(0.5, "tpe", 6000, 0.8)]
    drawn = haq.series([*rows, row(0.9, "ddpg", 600, 0.8), row(0.9, "tpe", 600, 0.85), row(0.9, "tpe", 6000, 0.9)])
    assert drawn["uniform"] == [(0.5, 0.5, 0.0), (0.9, 0.9, 0.0)]
    assert drawn["mixed, ddpg (600)"] == [(0.5, 0.6, 0.01), (0.9, 0.8, 0.01)]
    assert drawn["mixed, tpe (600)"] == [(0.5, 0.7, 0.01), (0.9, 0.85, 0.01)]
    assert drawn["mixed, tpe (6,000)"] == [(0.5, 0.8, 0.01), (0.9, 0.9, 0.01)]


@pytest.mark.parametrize("name", ["haq", "galen"])
def test_methods_are_known_before_anything_is_searched(name, tmp_path, monkeypatch, capsys):
    for method, words in (("tp", "method='tp' is not known"), ("random", "names one twice")):
        arguments = [name, "--method", "random", "--method", method, "--epochs", "0", "--work", tmp_path]
        code, _, err = run_here(papers.main, arguments, monkeypatch, capsys)
        assert code == 2 and words in err and not list(tmp_path.rglob("random-*"))


def test_haq_states_what_finetuning_changes():
    def best(before, after):
        return {"strategy": {}, "test_before": before, "test": after}

    mixed = [best(0.85, 0.91) | {"found_by": ["tpe (9)", "ddpg (9)"]}, best(0.84, 0.92) | {"found_by": ["ddpg (9)"]}]
    tuned = {"uniform": [best(0.8, 0.9)], "mixed": mixed}
    lines = haq._finetuned_lines([{"bits": [4, 4], **tuned}], haq.HAQPlan(epochs=5))
    assert "after 5 epochs" in lines[0]
    assert lines[-1] == (
        "| 4/4 | 80.00 → 90.00 |  | 85.00 → 91.00 | tpe (9), ddpg (9) | 84.00 → 92.00 | ddpg (9) | +5.00 / +1.00 |"
    )


def test_galen_from_end_to_end(run, tmp_path):
    pilot = ("--method", "evolution", "--evaluations", "40", "--seeds", "2", "--epochs", "1", "--tuned", "0.5")
    report = "galen-digits-cnn-bismo-edge-latency_ms"
    facts, text = run("galen", *pilot, "--budget", "0.5", "--budget", "0.15", "--budget", "0.01", report=report)
    rows = {(r["budget"], r["approach"]): r for r in facts["rows"]}
    assert len(rows) == 9 and 0.9 < facts["baseline_test"] <= 1
    assert not rows[0.15, "pruning alone"]["fits"] and "nothing fits" in text and "its abstract" in text
    assert not any(rows[0.01, approach]["fits"] for approach in galen.APPROACHES)
    half, low, _ = facts["differences"]
    alone = max(rows[0.5, a]["validation"]["mean"] for a in ("pruning alone", "quantisation alone"))
    assert half["validation"]["difference"] == pytest.approx(rows[0.5, "joint"]["validation"]["mean"] - alone)
    assert low["best_alone"] is None and "neither fits" in text
    assert [f["approach"] for f in facts["finetuned"]] == list(galen.APPROACHES)
    for tuned in facts["finetuned"]:
        assert tuned["budget"] == 0.5 and 0 < tuned["test"] <= 1
        assert tuned["lost"] == pytest.approx(facts["baseline_test"] - tuned["test"])
    joint, decisions = facts["finetuned"][0], JOINT.problem(device="bismo-edge").decisions
    again = PaperScores(JOINT, decisions, tmp_path / "again")
    assert joint["test_before"] == again(joint["strategy"], "test")


def test_galen_lets_searches_without_learning_ask_more(run):
    pilot = ("--method", "ddpg", "--method", "annealing", "--evaluations", "20", "--longer", "300", "--seeds", "1")
    report = "galen-digits-cnn-bismo-edge-latency_ms"
    facts, text = run("galen", *pilot, "--epochs", "0", "--budget", "0.5", report=report)
    searches = [("ddpg", 20), ("annealing", 20), ("annealing", 300)]
    assert [(row["method"], row["evaluations"]) for row in facts["rows"]] == 3 * searches and "In brackets" in text
    assert [(d["method"], d["evaluations"]) for d in facts["differences"]] == searches
    assert text.count("| annealing |") == text.count("| annealing (300) |") == 4
    for d, joint, *alone in zip(
        facts["differences"], *(facts["rows"][n * 3 : n * 3 + 3] for n in range(3)), strict=True
    ):
        best = max(alone, key=lambda row: row["validation"]["mean"])
        assert d["test"]["difference"] == pytest.approx(joint["test"]["mean"] - best["test"]["mean"])
    predicted = [row["predicted"]["mean"] for row in facts["rows"]]
    assert all(short <= long for short, long in zip(predicted[1::3], predicted[2::3], strict=True))
    assert predicted[1] < predicted[2]


def test_galen_bounds_bit_operations_too(run):
    pilot = ("--method", "random", "--evaluations", "20", "--seeds", "2", "--epochs", "0", "--budget", "0.2")
    facts, text = run("galen", *pilot, "--cost", "bops", report="galen-digits-cnn-bismo-edge-bops")
    assert all(row["fits"] for row in facts["rows"]) and "within bit operations" in text
    assert facts["finetuned"] == [] and "Nothing was fine-tuned" in text


def test_apq_from_end_to_end(run):
    budgets = ("--latency", "0.5", "--latency", "0.05", "--energy", "0.3")
    facts, text = run("apq", "--evaluations", "60", "--seeds", "2", *budgets, report="apq-digits-cnn-bitfusion")
    within_budget = [row for row in facts["rows"] if row["fit"]]
    for row in within_budget:
        whole = JOINT.problem(device="bitfusion").baseline_costs[row["cost"]]
        assert row[row["cost"]] <= row["budget"] * whole * (1 + 1e-6)
    assert [r["approach"] for r in facts["rows"]] == ["joint", "in sequence"] * 3
    assert "6.11 ms / 9.14 mJ / 72.8 %" in text and "not at hand" in text
    assert [r["fit"] for r in facts["rows"]][2:4] == [0, 0] and len(within_budget) == 4 and "0 of 2" in text
    half, none, _ = facts["differences"]
    first, second = facts["rows"][:2]
    assert half["test"]["difference"] == pytest.approx(first["test"]["mean"] - second["test"]["mean"])
    assert "test" not in none and "not both fit" in text


def test_in_sequence_may_find_nothing_where_joint_search_does(tmp_path):
    plan = apq.APQPlan(evaluations=60)
    whole = JOINT.problem(device="bitfusion", budget=1.0, reward="accuracy")
    cheapest = whole.costs(whole.cheapest)["latency_ms"][0] / whole.baseline_costs["latency_ms"]
    problem = within(whole, 1.001 * cheapest)
    assert apq.together(problem, plan, 0, tmp_path)["accuracy"] > 0
    assert apq.in_sequence(problem, plan, 0, tmp_path) is None
    assert apq.in_sequence(within(whole, 0.6), plan, 0, tmp_path)["costs"]["latency_ms"] > 0


def test_a_difference_is_set_beside_the_larger_spread():
    one = {"mean": 0.9, "std": 0.01}
    assert exceeds(one, {"mean": 0.85, "std": 0.0}) == {
        "difference": pytest.approx(0.05),
        "more_than_the_spread": True,
    }
    assert not exceeds(one, {"mean": 0.85, "std": 0.06})["more_than_the_spread"]


def test_galens_differences_by_hand():
    def row(approach, mean, test):
        both = {"validation": {"mean": mean, "std": 0.01}, "test": {"mean": test, "std": 0.02}}
        return {"budget": 0.3, "method": "ddpg", "approach": approach, "fits": True, **both}

    rows = [row("joint", 0.9, 0.88), row("pruning alone", 0.85, 0.87), row("quantisation alone", 0.8, 0.9)]
    (stated,) = galen.differences(rows)
    assert stated["best_alone"] == "pruning alone"  # by validation images
    assert stated["validation"] == {"difference": pytest.approx(0.05), "more_than_the_spread": True}
    assert stated["test"] == {"difference": pytest.approx(0.01), "more_than_the_spread": False}


@pytest.mark.parametrize("name", ["haq", "galen", "apq"])
def test_a_task_without_accuracies_of_bits_is_refused(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Case, "best_signal", lambda case: "live")
    code, _, err = run_here(papers.main, [name, "--work", tmp_path], monkeypatch, capsys)
    assert code != 0 and "--task digits-cnn: accuracies of" in err and "compress-gym collect digits-cnn" in err


def test_budgets_that_are_none_are_refused(tmp_path, monkeypatch, capsys):
    for arguments, words in (
        (["apq", "--latency", "0"], "0 is not in the range"),
        (["galen", "--tuned", "0.25"], "--tuned [0.25] must be among --budget"),
    ):
        code, _, err = run_here(papers.main, [*arguments, "--work", tmp_path], monkeypatch, capsys)
        assert code != 0 and words in err
