from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_gym import CompressionEnv, CompressionVectorEnv, Decision, DecisionSpace, Problem
from compress_gym.kinds import get_case
from compress_gym.problem.costs import Term, pack
from compress_gym.problem.rewards import REWARDS, Outcome
from compress_gym.problem.scores import MeasuredAccuracy
from tests.helpers import random_problem, seeds

STRATEGIES = np.array(list(itertools.product(range(2), range(3))))
ACCURACIES = np.linspace(0.5, 0.9, 6)
COSTS = {"latency_ms": [1.0, 2.0, 3.0, 2.0, 3.0, 6.0]}


def table(**changes):
    arguments = {
        "decisions": {"a": (1, 2), "b": (4, 8, 16)},
        "strategies": STRATEGIES,
        "accuracies": ACCURACIES,
        "costs": COSTS,
    }
    return Problem.from_table(**{**arguments, **changes})


def test_from_table_in_any_order():
    order = np.random.default_rng(0).permutation(6)
    shuffled = table(
        strategies=STRATEGIES[order],
        accuracies=ACCURACIES[order],
        costs={"latency_ms": np.array(COSTS["latency_ms"])[order]},
    )
    assert shuffled.accuracy(STRATEGIES).tolist() == ACCURACIES.tolist()
    assert shuffled.costs(STRATEGIES)["latency_ms"].tolist() == COSTS["latency_ms"]
    assert shuffled.optimum().tolist() == [1, 1]
    assert shuffled.describe([1, 1]) == {"a": 2, "b": 8}


def test_optimum_prefers_the_cheaper_of_equals():
    equal = table(accuracies=[0.5, 0.5, 0.5, 0.5, 0.5, 0.9])
    assert equal.optimum().tolist() == [0, 0]


@given(seeds, st.floats(0, 1), st.booleans())
def test_optimum_is_the_best_by_brute_force(seed, slack, labels):
    problem = random_problem(seed, budget_slack=slack, labels=labels)
    rows = problem.decisions.enumerate()
    fits = problem.costs(rows)["latency_ms"] <= problem.cost_limit
    assert problem.accuracy(problem.optimum())[0] == problem.accuracy(rows[fits]).max()


@given(seeds, st.booleans(), st.booleans())
def test_uniform_and_random_keep_the_budget(seed, conditional, labels):
    problem = random_problem(seed, conditional=conditional, labels=labels)
    found = np.concatenate([problem.uniform()[None], problem.random(np.random.default_rng(seed), 20)])
    assert problem.evaluate(found).feasible.all()


def test_unreachable_counts_what_clip_forbids():
    # The cheapest is [1, 0] (cost 1): with a = 0 first, b must leave its choice there to fit.
    problem = table(costs={"latency_ms": [4.0, 2.0, 4.0, 1.0, 4.0, 4.0]}, budget=0.6)
    assert problem.cheapest.tolist() == [1, 0]
    assert problem.unreachable() == 1


LABELS = {"a": ("dense", "2:4"), "b": (4, 8, 16)}


def test_a_table_of_labels_with_references_in_the_middle():
    problem = table(decisions=LABELS, reference={"a": "dense", "b": 8}, budget=1.0)
    assert problem.decisions.uncompressed.tolist() == [0, 1]
    assert problem.baseline_costs == {"latency_ms": 2.0} and problem.accuracy_model.baseline == ACCURACIES[1]
    assert problem.describe([1, 1]) == {"a": "2:4", "b": 8}
    assert problem.decisions.encode({"a": "2:4", "b": 8}).tolist() == [1, 1]
    # Budgets are fractions of the uncompressed cost; what costs more than that does not fit.
    assert problem.cheapest.tolist() == [0, 0] and problem.optimum().tolist() == [1, 0]
    assert problem.within_budget(STRATEGIES).tolist() == [[0, 0], [0, 1], [0, 1], [1, 0], [1, 0], [1, 0]]
    same = table(decisions=problem.decisions, reference={"b": 16})
    assert same.decisions.uncompressed.tolist() == [0, 2] and same.accuracy_model.baseline == ACCURACIES[2]


def test_the_last_observation_of_what_was_left_as_it_was():
    """All costs that are seen are those of the uncompressed network, from the first step to the last."""
    env = CompressionEnv(table(decisions=LABELS, reference={"a": "dense", "b": 8}, budget=1.0), "discrete")
    most = env.observation_names.index("most_total")
    seen = [env.reset()[0][most], *(env.step(choice)[0][most] for choice in (0, 1))]
    assert seen == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"reference": {"a": "dens"}}, ValueError, r"'a': reference='dens' is not one of its values, \['dense'"),
        ({"reference": {"c": 1}}, KeyError, "reference='c' is not known; legal: 'a', 'b'"),
        ({"decisions": {**LABELS, "a": ("dense", 2)}}, ValueError, "all whole numbers or all labels"),
        ({"decisions": {**LABELS, "a": ("dense", "dense")}}, ValueError, "each of them once"),
        ({"decisions": {**LABELS, "a": "ab"}}, ValueError, "must list values"),
        ({"strategies": [["dense", 4]] * 6}, ValueError, "choices are integers"),
    ],
)
def test_bad_labels_and_references_are_named(changes, error, words):
    with pytest.raises(error, match=words):
        table(**{"decisions": LABELS, **changes})


def test_a_table_of_eight_decisions():
    rows = np.array(list(itertools.product(range(2), repeat=8)))
    problem = Problem.from_table(
        {f"d{i}": (1, 2) for i in range(8)}, rows, np.full(256, 0.5), {"macs": rows.sum(1) + 1.0}, reward="accuracy"
    )
    assert problem.costs(rows)["macs"].tolist() == (rows.sum(1) + 1.0).tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": STRATEGIES[:5], "accuracies": ACCURACIES[:5]}, "1 are missing"),
        ({"strategies": STRATEGIES[[0, 1, 2, 3, 4, 4]]}, "1 are missing and 1 are given more than once"),
        ({"accuracies": ACCURACIES[:5]}, r"accuracies has shape \(5,\)"),
        ({"accuracies": ACCURACIES * 100}, "not within 0 and 1"),
        ({"accuracies": [math.nan] * 6}, "accuracies.*non-finite"),
        ({"costs": {}}, "at least one cost"),
        ({"costs": {"latency_ms": [0.0, 1, 1, 1, 1, 1]}}, "a cost of 0"),
        ({"costs": {"accuracy": [1.0] * 6}}, r"costs=\['accuracy'\] have names"),
        ({"costs": {"latency_ms": [-1.0] * 6}}, r"costs\['latency_ms'\] holds a negative"),
        ({"budget": 0}, "budget=0 must be above 0"),
        ({"budget": 1.01}, "budget=1.01 must be above 0 and at most 1"),
        ({"budget": math.nan}, "budget=nan"),
        ({"budget": "half"}, "budget='half'"),
        ({"budget": 0.1}, "cheapest strategy, which costs 0.1667.*budget=0.1667 or more"),
        ({"reward": "accuracy", "budget_rule": "none"}, "'accuracy' ignores cost"),
        ({"reward": "haq", "budget_rule": "none"}, "'haq' ignores cost"),
        ({"reward": "amc-macs"}, "needs the cost 'macs'"),
        ({"reward": "hat"}, r"needs the score columns \['valid_loss'\]"),
        ({"steps": ((1,), (0,))}, "every decision once, in order"),
    ],
)
def test_bad_arguments_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        table(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cost": "latency"}, "cost='latency' is not known; legal: 'latency_ms'. Did you mean 'latency_ms'"),
        ({"reward": "acuracy"}, "reward='acuracy'.*Did you mean 'accuracy'"),
        ({"budget_rule": "clamp"}, "budget_rule='clamp'.*'clip', 'none', 'repair'"),
    ],
)
def test_unknown_names_show_the_closest(changes, words):
    with pytest.raises(KeyError, match=words):
        table(**changes)


def test_no_optimum_without_a_table():
    problem = get_case("ChannelPrune", "cifar10-resnet20").problem()

    class Live:
        source, baseline = "live", 0.9

        def __call__(self, strategies):
            return np.zeros(len(strategies))

    with pytest.raises(ValueError, match="accuracy='live' is no table"):
        problem.replace(accuracy_model=Live()).optimum()


OUTCOME = Outcome(
    0.8, baseline_accuracy=0.9, cost_ratio=0.6, budget=0.5, costs={"macs": 1e6}, scores={"valid_loss": 2.5}
)


@pytest.mark.parametrize("budget", [0, 1e-9, math.nan, 50, "half"])
def test_budgets_of_questions_are_checked(budget):
    for ask in (table().uniform, table().optimum):
        with pytest.raises(ValueError, match="budget="):
            ask(budget)


def test_any_real_number_is_a_budget():
    assert (
        table(budget=np.float32(0.5)).optimum().tolist() == table().optimum().tolist() == table().optimum(0.5).tolist()
    )


def test_only_one_strategy_is_described():
    with pytest.raises(ValueError, match="expected one strategy"):
        table().describe(STRATEGIES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 0.8),
        ("amc-macs", -0.2 * math.log(1e6)),
        ("haq", -1.0),
        ("galen", 0.8 - 5 * 0.2),
        ("mnasnet", 0.8 * 1.2**-0.07),
        ("hat", -2.5),
    ],
)
def test_rewards_by_hand(name, expected):
    assert REWARDS[name].function(OUTCOME) == pytest.approx(expected, rel=1e-12)


def test_a_reward_of_ones_own():
    problem = table(reward=lambda outcome: outcome.accuracy - outcome.cost_ratio, budget_rule="none")
    assert problem.evaluate([[1, 2]]).reward[0] == pytest.approx(0.9 - 1.0)


class Levels:
    """An accuracy model with a score column of its own."""

    source, baseline = "own", 0.9

    def __init__(self, column="levels"):
        self.columns = ("accuracy", column)

    def __call__(self, strategies):
        return np.full(len(strategies), 0.5)

    def scores(self, strategies, columns):
        found = {"accuracy": self(strategies), self.columns[1]: strategies.sum(axis=1).astype(float)}
        return {name: found[name] for name in columns}


def test_score_columns_reach_rewards_and_infos():
    problem = table(budget=1.0).replace(accuracy_model=Levels(), reward=lambda outcome: outcome.scores["levels"])
    assert problem.evaluate(STRATEGIES).scores["levels"].tolist() == [0, 1, 2, 1, 2, 3]
    assert problem.scores(STRATEGIES[:2], ["levels"])["levels"].tolist() == [0, 1]
    env, envs = CompressionEnv(problem), CompressionVectorEnv(problem, 2)
    for e in (env, envs):
        e.reset(seed=0)
    for action in (1.0, 0.0):  # the higher of two, the middle of three
        _, reward, *_, info = env.step(np.array([action], dtype=np.float32))
        _, rewards, *_, infos = envs.step(np.full((2, 1), action, dtype=np.float32))
    assert reward == info["levels"] == 2 and info["accuracy"] == 0.5
    assert rewards.tolist() == infos["levels"].tolist() == [2, 2]


@pytest.mark.parametrize("name", ["feasible", "latency_ms"])
def test_score_columns_do_not_take_other_names(name):
    with pytest.raises(ValueError, match=rf"score columns \['{name}'\] have names"):
        table().replace(accuracy_model=Levels(name))


def test_a_table_has_no_module():
    with pytest.raises(ValueError, match="no module to build"):
        table().build([0, 0])
    with pytest.raises(ValueError, match="no module to build"):
        table().export([0, 0], "file.onnx")


def test_costs_of_inactive_decisions_are_refused():
    space = DecisionSpace(
        (Decision("depth", "other", (1, 2)), Decision("width", "other", (4, 8), requires=("depth", 2)))
    )
    terms = pack(space, ("latency_ms",), [Term("all", (0, 1), np.array([[[1.0], [2.0]], [[3.0], [4.0]]]))])
    with pytest.raises(ValueError, match="change with decisions that are inactive"):
        Problem(space, terms, MeasuredAccuracy(space, np.full(4, 0.5), 0.9), reward="accuracy")
