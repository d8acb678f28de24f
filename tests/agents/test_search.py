from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from agents.search import METHODS, search
from agents.search.hill_climb import neighbours
from agents.search.integer_program import solve
from compress_gym.kinds import get_case
from compress_gym.problem import Problem
from tests.helpers import random_problem, seeds

PRUNED = get_case("ChannelPrune-v0", "digits-cnn")
HAND_MADE = ("uniform", "shallow-heavy", "deep-heavy")  # one strategy, whatever the allowance
# These end when they have found their one strategy, and score others on the way that are over budget.
ENDING = ("netadapt", "integer-program")
SLOW = ("gaussian-process",)
every_method = pytest.mark.parametrize("method", sorted(METHODS))


class Counting:
    """An accuracy model that counts the strategies it is asked for."""

    def __init__(self, model):
        self.model, self.asked = model, 0

    source = property(lambda self: self.model.source)
    baseline = property(lambda self: self.model.baseline)

    def __call__(self, strategies):
        self.asked += len(strategies)
        return self.model(strategies)


@every_method
@pytest.mark.parametrize("allowance", [1, 7, 60])
def test_the_allowance_is_kept_exactly(method, allowance):
    allowance = min(allowance, 12) if method in SLOW else allowance
    problem = PRUNED.problem(reward="accuracy")
    counting = Counting(problem.accuracy_model)
    scored = list(search(problem.replace(accuracy_model=counting), method, allowance, seed=0))
    assert counting.asked == len(scored) <= allowance
    if method not in ENDING:
        assert len(scored) == (1 if method in HAND_MADE else allowance)


@every_method
@pytest.mark.parametrize("seed", range(8))
def test_every_strategy_keeps_the_budget(method, seed):
    if method in SLOW and seed > 1:
        pytest.skip(f"{method} is slow")
    scored = list(search(random_problem(seed), method, 12 if method in SLOW else 400 if method in ENDING else 40, 0))
    assert all(s.feasible for s in (scored[-1:] if method in ENDING else scored))


@every_method
def test_labels_and_references_in_the_middle_are_searched(method):
    for seed in (1, 6):
        problem = random_problem(seed, labels=True, conditional=True, reward="accuracy")
        assert any(d.has_labels for d in problem.decisions.decisions)
        scored = list(search(problem, method, 12 if method in SLOW else 400 if method in ENDING else 40, 0))
        assert all(s.feasible for s in (scored[-1:] if method in ENDING else scored))
    # Of one decision, measuring every label finds the best that fits; the sum of sensitivities is exact there.
    costs, accuracies = {"latency_ms": [2.0, 6.0, 4.0, 1.0, 3.0]}, [0.6, 0.9, 0.7, 0.5, 0.8]
    labels = {"pattern": ("2:4", "dense", "1:4", "block", "3:4")}
    rows = np.arange(5)[:, None]
    one = Problem.from_table(labels, rows, accuracies, costs, {"pattern": "dense"}, budget=0.6, reward="accuracy")
    if method in ENDING:
        assert list(search(one, method, 400, 0))[-1].strategy == {"pattern": "3:4"}


@every_method
def test_same_seed_same_search(method):
    problem = PRUNED.problem(reward="accuracy")
    first, second, other = (list(search(problem, method, 12 if method in SLOW else 40, seed)) for seed in (1, 1, 2))
    assert first == second
    assert method in (*HAND_MADE, *ENDING) or first != other


@pytest.mark.parametrize("method", ["hill-climb", "evolution", "aging-evolution", "cma-es"])
def test_searches_beat_random_on_average(method):
    """Against random search at equal evaluations, over 20 seeds; an idle method would not pass."""
    problem = PRUNED.problem(reward="accuracy", budget=0.7)

    def median_best(name):
        return np.median([max(s.reward for s in search(problem, name, 300, seed)) for seed in range(20)])

    assert median_best(method) > median_best("random")


def test_uniform_is_the_largest_uniform_strategy_that_fits():
    problem = PRUNED.problem(reward="accuracy")
    (scored,) = search(problem, "uniform", 10, seed=0)
    levels = set(problem.decisions.encode(scored.strategy).tolist())
    assert len(levels) == 1
    larger = problem.costs(np.full((1, 5), levels.pop() + 1))["latency_ms"][0]
    assert larger > problem.cost_limit


@given(seeds)
def test_neighbours_are_distinct_and_within_budget(seed):
    problem = random_problem(seed)
    rng = np.random.default_rng(seed)
    strategy = problem.random(rng, 1)[0]
    found = neighbours(problem, strategy, rng)
    assert len(np.unique(found, axis=0)) == len(found)
    assert not (found == strategy).all(axis=1).any()
    assert not len(found) or problem.evaluate(found).feasible.all()


def test_hats_evolution_has_its_published_setting():
    problem = PRUNED.problem(reward="accuracy", budget=0.5)
    running = METHODS["hat-evolution"](problem, np.random.default_rng(0))
    population = next(running)
    assert len(population) == 125
    rewards = problem.evaluate(population).reward
    parents = population[np.argsort(-rewards, kind="stable")[:25]]
    offspring = running.send(rewards)
    assert len(offspring) == 100 and problem.evaluate(offspring).feasible.all()
    # A gene of a crossover is that of some parent; about 0.3 * 3/4 of a mutant's genes are new.
    assert all(set(offspring[50:, t]) <= set(parents[:, t]) for t in range(offspring.shape[1]))


def test_unknown_methods_are_told():
    with pytest.raises(KeyError, match="Did you mean 'hill-climb'"):
        list(search(PRUNED.problem(), "hillclimb", 1, 0))


@pytest.mark.parametrize("method", ["shallow-heavy", "deep-heavy"])
@pytest.mark.parametrize("budget", [0.2, 0.5, 0.9])
def test_hand_made_strategies_lean_as_their_names_say_and_fit(method, budget):
    problem = PRUNED.problem(device=None, cost="macs", budget=budget, reward="accuracy")
    (scored,) = search(problem, method, 10, seed=0)
    choices = problem.decisions.encode(scored.strategy)
    ordered = choices if method == "shallow-heavy" else choices[::-1]
    assert scored.feasible and (np.diff(ordered) >= 0).all()
    assert ordered[0] < ordered[-1] == problem.decisions.sizes[-1] - 1


def test_a_budget_that_no_slope_reaches_gets_the_cheapest():
    problem = PRUNED.problem(budget=0.301)
    (scored,) = search(problem, "deep-heavy", 10, seed=0)
    assert np.array_equal(problem.decisions.encode(scored.strategy), problem.cheapest)


@given(seeds)
@settings(max_examples=20)
def test_the_integer_program_is_solved_exactly(seed):
    """Against trying every strategy, with gains of its own for every choice."""
    problem = random_problem(seed)
    rng = np.random.default_rng(seed)
    gains = [rng.normal(size=n) for n in problem.decisions.sizes]
    rows = problem.decisions.enumerate()
    total = sum(g[rows[:, t]] for t, g in enumerate(gains))
    fits = problem.costs(rows)["latency_ms"] <= problem.cost_limit
    found = problem.decisions.index(solve(problem, gains))[0]
    assert total[found] == pytest.approx(total[fits].max(), abs=1e-5)


def test_the_integer_program_finds_what_is_additive():
    """Where losses really add up, measured sensitivities are all there is to know."""
    problem = random_problem(11)
    gains = [np.sort(np.random.default_rng(t).random(n)) * 0.05 for t, n in enumerate(problem.decisions.sizes)]

    class Additive:
        source, baseline = "own", 0.9

        def __call__(self, strategies):
            return 0.5 + sum(g[strategies[:, t]] for t, g in enumerate(gains))

    additive = problem.replace(accuracy_model=Additive())
    rows = problem.decisions.enumerate()
    best = additive.accuracy(rows[problem.costs(rows)["latency_ms"] <= problem.cost_limit]).max()
    assert list(search(additive, "integer-program", 400, 0))[-1].accuracy == pytest.approx(best, abs=1e-6)


@given(seeds)
@settings(max_examples=20)
def test_netadapt_goes_down_to_the_budget(seed):
    scored = list(search(random_problem(seed), "netadapt", 10_000, seed=0))
    assert scored[-1].feasible
