from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_gym.problem import Problem, budgets
from compress_gym.problem.costs import Term, pack
from compress_gym.problem.decisions import Decision, DecisionSpace, from_lists
from compress_gym.problem.scores import MeasuredAccuracy
from tests import reference
from tests.helpers import random_problem, random_terms, seeds


@given(seeds)
def test_costs_equal_the_plain_sum(seed):
    problem, terms = random_terms(seed)
    rows = np.random.default_rng(seed).integers(problem.decisions.sizes, size=(5, len(problem.decisions)))
    for metric, name in enumerate(problem.cost_terms.metrics):
        expected = [reference.cost(terms, row.tolist(), metric) for row in rows]
        # terms of the same decisions are added up first, so the last bits may differ
        assert problem.costs(rows)[name].tolist() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("rule", ["clip", "repair"])
@given(seed=seeds, conditional=st.booleans(), labels=st.booleans())
def test_rules_equal_plain_python(rule, seed, conditional, labels):
    rng = np.random.default_rng(seed)
    problem, terms = random_terms(seed, rng.random(), conditional, labels, budget_rule=rule)
    rows = rng.integers(problem.decisions.sizes, size=(5, len(problem.decisions)))
    expected = [getattr(reference, rule)(problem, terms, row.tolist()) for row in rows]
    kept = problem.within_budget(rows)
    assert kept.tolist() == expected
    assert (problem.costs(kept)["latency_ms"] <= problem.cost_limit).all()


@given(seeds, st.booleans())
def test_clip_keeps_what_it_made(seed, labels):
    problem = random_problem(seed, labels=labels)
    kept = problem.random(np.random.default_rng(seed), 10)
    assert (problem.within_budget(kept) == kept).all()


@given(seeds)
def test_coordinate_descent_ends_where_no_single_choice_is_cheaper(seed):
    problem = random_problem(seed)
    terms, sizes = problem.cost_terms, problem.decisions.sizes
    found = budgets.cheapest(sizes, terms.terms, terms.tables, problem.metric)
    cost = problem.costs(found)["latency_ms"][0]
    for t, size in enumerate(sizes):
        for choice in range(size):
            other = found.copy()
            other[t] = choice
            assert problem.costs(other)["latency_ms"][0] >= cost


def test_coordinate_descent_finds_a_minimum_that_is_not_the_lowest_choice():
    space = from_lists({"a": (1, 2, 3), "b": (1, 2, 3)})
    separate = [Term(n, (t,), np.array([[3.0], [2.0], [1.0 + t]])) for t, n in enumerate("ab")]
    packed = pack(space, ("macs",), separate)
    assert budgets.cheapest(space.sizes, packed.terms, packed.tables, 0).tolist() == [2, 1]


def test_labels_are_lowered_by_cost_until_the_cheapest():
    """From the reference in the middle of the list, to 3 and to 1; what costs more than it goes there first."""
    space = from_lists({"a": ("b", "dense", "c", "d", "e")}, {"a": "dense"})
    terms = pack(space, ("macs",), [Term("a", (0,), np.array([[3.0], [5.0], [1.0], [6.0], [3.0]]))])
    model = MeasuredAccuracy(space, np.full(5, 0.5), 0.5)
    problem = Problem(space, terms, model, cost="macs", budget=0.8, reward="accuracy", budget_rule="repair")
    assert problem.ascending(0).tolist() == [2, 0, 4, 1, 3]
    # Of two that cost the same, the one listed last; the other is no cheaper, so it is not passed.
    assert problem.lower_choices[0, :5].tolist() == [2, 4, -1, 1, 2]
    assert problem.lowered(0, 1).tolist() == [2, 4] and problem.raised(0).tolist() == [2, 4, 1]
    assert problem.within_budget(np.arange(5)[:, None])[:, 0].tolist() == [0, 4, 2, 4, 4]
    assert problem.replace(budget=0.5).within_budget([[3]]).tolist() == [[2]]
    assert [problem.uniform(b).tolist() for b in (0.2, 0.6, 1.0)] == [[2], [4], [1]]


def test_what_a_decision_requires_is_chosen_when_its_choices_are_compared():
    """At the references `w` does not matter: its choices would all cost the same, and none could be lowered."""
    space = DecisionSpace(
        (
            Decision("depth", "other", (1, 2), reference=1),
            Decision("w", "other", ("x", "y", "z"), requires=("depth", 2)),
        )
    )
    terms = pack(space, ("macs",), [Term("all", (0, 1), np.array([[[4.0]] * 3, [[2.0], [3.0], [1.0]]]))])
    problem = Problem(space, terms, MeasuredAccuracy(space, np.full(6, 0.5), 0.5), cost="macs", reward="accuracy")
    assert space.references.tolist() == [0, 2] and space.uncompressed.tolist() == [0, 0]
    assert problem.lower_choices[1, :3].tolist() == [2, 0, -1]
    assert problem.cheapest.tolist() == [1, 2]


def test_numbers_are_lowered_by_one_whatever_they_cost():
    problem = random_problem(5)
    for t, size in enumerate(problem.decisions.sizes):
        assert problem.lower_choices[t].tolist() == [*range(-1, size - 1), *[-1] * (16 - size)]
        assert problem.raised(t).tolist() == list(range(size))


def test_no_rule_leaves_strategies_alone():
    problem = random_problem(3, budget_rule="none", reward="mnasnet")
    rows = np.random.default_rng(0).integers(problem.decisions.sizes, size=(20, len(problem.decisions)))
    assert (problem.within_budget(rows) == rows).all()
