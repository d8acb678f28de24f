"""Evolution after HAT (Wang et al. 2020): keep the best, mutate, cross over.

`evolution` has a population scaled down to short allowances, and moves offspring into the budget. `hat_evolution` is
HAT's published setting, which draws again until offspring fit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from agents.search.method import SearchMethod
from compress_gym.problem import Problem

POPULATION = 25
PARENTS = 5
MUTATION = 0.3
# HAT's setting, for 30 generations (3,025 evaluations).
HAT_POPULATION, HAT_PARENTS, HAT_MUTANTS, HAT_CROSSOVERS = 125, 25, 50, 50
# Draws without an offspring that fits, after which the budget is called out of reach.
PATIENCE = 1000


def evolution(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Evolves a population; parents survive without being scored again."""
    population = problem.random(rng, POPULATION)
    rewards = yield population
    while True:
        best = np.argsort(-rewards, kind="stable")[:PARENTS]
        parents, parent_rewards = population[best], rewards[best]
        count = (POPULATION - PARENTS) // 2
        offspring = [_mutants(problem, rng, parents, count), _crossovers(rng, parents, count)]
        offspring_rows = problem.within_budget(np.concatenate(offspring))
        offspring_rewards = yield offspring_rows
        population = np.concatenate([parents, offspring_rows])
        rewards = np.concatenate([parent_rewards, offspring_rewards])


def hat_evolution(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Evolves HAT's population; what is over the budget is rejected.

    Raises:
        ValueError: Hardly anything fits the budget.
    """
    sizes = problem.decisions.sizes
    population = _fitting(problem, HAT_POPULATION, lambda n: rng.integers(sizes, size=(n, len(sizes))))
    rewards = yield population
    while True:
        best = np.argsort(-rewards, kind="stable")[:HAT_PARENTS]
        parents, parent_rewards = population[best], rewards[best]
        mutants = _fitting(problem, HAT_MUTANTS, partial(_mutants, problem, rng, parents))
        crossed = _fitting(problem, HAT_CROSSOVERS, partial(_crossovers, rng, parents))
        offspring = np.concatenate([mutants, crossed])
        offspring_rewards = yield offspring
        population = np.concatenate([parents, offspring])
        rewards = np.concatenate([parent_rewards, offspring_rewards])


def _mutants(problem: Problem, rng: np.random.Generator, parents: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Draws each gene of a parent anew with a chance of 0.3, `[count, T]`."""
    sizes, mutants = problem.decisions.sizes, parents[rng.integers(len(parents), size=count)]
    mutated = rng.random(mutants.shape) < MUTATION
    return np.where(mutated, rng.integers(sizes, size=mutants.shape), mutants)


def _crossovers(rng: np.random.Generator, parents: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Takes each gene from one of two parents, with equal chances, `[count, T]`."""
    mothers, fathers = (parents[rng.integers(len(parents), size=count)] for _ in range(2))
    return np.where(rng.random(mothers.shape) < 0.5, mothers, fathers)


def _fitting(problem: Problem, count: int, draw: Callable[[int], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Draws until so many strategies are within the budget, `[count, T]`."""
    found: list[NDArray[np.int64]] = []
    missing, failures = count, 0
    while missing:
        rows = problem.decisions.check(draw(count))
        rows = rows[problem.costs(rows)[problem.cost] <= problem.cost_limit][:missing]
        found.append(rows)
        missing -= len(rows)
        failures = 0 if len(rows) else failures + 1
        if failures == PATIENCE:
            raise ValueError(f"budget={problem.budget}: hardly anything that is drawn fits it; use 'evolution'")
    return np.concatenate(found)
