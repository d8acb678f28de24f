"""Aging evolution (Real et al. 2019, "regularized evolution"): a winner is mutated, the oldest dies.

Real et al. keep 100 and draw 25; here both are scaled down to allowances of some hundred evaluations.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from agents.search.method import SearchMethod
from compress_gym.problem import Problem

POPULATION = 40
TOURNAMENT = 10


def aging_evolution(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Mutates one decision of the best of a random draw; the child replaces the oldest, however good that is."""
    sizes = problem.decisions.sizes
    changeable = np.flatnonzero(sizes > 1)
    first = problem.random(rng, POPULATION)
    rewards = yield first
    population = deque(zip(first, rewards, strict=True), maxlen=POPULATION)
    while True:
        drawn = rng.choice(POPULATION, size=TOURNAMENT, replace=False)
        child = max((population[n] for n in drawn), key=lambda member: member[1])[0].copy()
        if len(changeable):
            t = rng.choice(changeable)
            child[t] = (child[t] + rng.integers(1, sizes[t])) % sizes[t]
        child = problem.within_budget(child)[0]
        (reward,) = yield child[None]
        population.append((child, reward))
