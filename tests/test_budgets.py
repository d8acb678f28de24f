from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from compress_gym import budgets
from tests import reference
from tests.helpers import random_problem, seeds


@given(seeds)
def test_costs_equal_the_plain_sum(seed):
    problem = random_problem(seed)
    rows = np.random.default_rng(seed).integers(problem.decisions.sizes, size=(5, len(problem.decisions)))
    for metric, name in enumerate(problem.cost_terms.metrics):
        expected = [reference.cost(problem, row.tolist(), metric) for row in rows]
        assert problem.costs(rows)[name].tolist() == expected


@pytest.mark.parametrize("rule", ["clip", "repair"])
@given(seed=seeds)
def test_rules_equal_plain_python(rule, seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(seed, budget_slack=rng.random(), budget_rule=rule)
    rows = rng.integers(problem.decisions.sizes, size=(5, len(problem.decisions)))
    expected = [getattr(reference, rule)(problem, row.tolist()) for row in rows]
    kept = problem.within_budget(rows)
    assert kept.tolist() == expected
    assert (problem.costs(kept)["latency_ms"] <= problem.cost_limit).all()


@given(seeds)
def test_clip_keeps_what_it_made(seed):
    problem = random_problem(seed)
    kept = problem.random(np.random.default_rng(seed), 10)
    assert (problem.within_budget(kept) == kept).all()


@given(seeds)
def test_coordinate_descent_never_beats_enumeration(seed):
    problem = random_problem(seed)
    terms, metric = problem.cost_terms, problem.metric
    found = budgets.cheapest(problem.decisions.sizes, terms.terms, terms.tables, metric)
    assert problem.costs(found)["latency_ms"][0] >= problem.costs(problem.reference)["latency_ms"][0]


def test_coordinate_descent_finds_the_lowest_of_a_monotone_cost():
    problem = random_problem(7)
    terms = problem.cost_terms
    monotone = np.sort(terms.tables, axis=0)
    assert budgets.cheapest(problem.decisions.sizes, terms.terms[:1], monotone, 0).sum() == 0


def test_no_rule_leaves_strategies_alone():
    problem = random_problem(3, budget_rule="none", reward="mnasnet")
    rows = np.random.default_rng(0).integers(problem.decisions.sizes, size=(20, len(problem.decisions)))
    assert (problem.within_budget(rows) == rows).all()
