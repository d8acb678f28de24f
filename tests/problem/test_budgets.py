from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from compress_gym.problem import budgets
from compress_gym.problem.costs import Term, pack
from compress_gym.problem.decisions import from_lists
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
@given(seed=seeds)
def test_rules_equal_plain_python(rule, seed):
    rng = np.random.default_rng(seed)
    problem, terms = random_terms(seed, budget_slack=rng.random(), budget_rule=rule)
    rows = rng.integers(problem.decisions.sizes, size=(5, len(problem.decisions)))
    expected = [getattr(reference, rule)(problem, terms, row.tolist()) for row in rows]
    kept = problem.within_budget(rows)
    assert kept.tolist() == expected
    assert (problem.costs(kept)["latency_ms"] <= problem.cost_limit).all()


@given(seeds)
def test_clip_keeps_what_it_made(seed):
    problem = random_problem(seed)
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


def test_no_rule_leaves_strategies_alone():
    problem = random_problem(3, budget_rule="none", reward="mnasnet")
    rows = np.random.default_rng(0).integers(problem.decisions.sizes, size=(20, len(problem.decisions)))
    assert (problem.within_budget(rows) == rows).all()
