"""Evolution after HAT: keep the best quarter, mutate, cross over (population scaled down to short allowances).

HAT's setting is 30 generations of 125: 25 parents, 50 mutations at 0.3 a gene, 50 uniform crossovers.
"""

from __future__ import annotations

import numpy as np

from agents.search.method import SearchMethod
from compress_gym.problem import Problem

POPULATION = 25
PARENTS = 5
MUTATION = 0.3


def evolution(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Evolves a population; parents survive without being scored again."""
    sizes = problem.decisions.sizes
    population = problem.random(rng, POPULATION)
    rewards = yield population
    while True:
        best = np.argsort(-rewards, kind="stable")[:PARENTS]
        parents, parent_rewards = population[best], rewards[best]
        count = (POPULATION - PARENTS) // 2
        mutants = parents[rng.integers(PARENTS, size=count)]
        mutated = rng.random(mutants.shape) < MUTATION
        mutants = np.where(mutated, rng.integers(sizes, size=mutants.shape), mutants)
        mothers, fathers = (parents[rng.integers(PARENTS, size=count)] for _ in range(2))
        children = np.where(rng.random(mothers.shape) < 0.5, mothers, fathers)
        offspring = problem.within_budget(np.concatenate([mutants, children]))
        offspring_rewards = yield offspring
        population = np.concatenate([parents, offspring])
        rewards = np.concatenate([parent_rewards, offspring_rewards])
