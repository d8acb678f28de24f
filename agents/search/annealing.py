"""Simulated annealing (Kirkpatrick et al. 1983): a random change is kept if better, and sometimes if worse."""

from __future__ import annotations

import numpy as np

from agents.search.method import SearchMethod
from compress_gym.problem import Problem

# In units of reward; the temperature falls geometrically from first to last over this many evaluations.
FIRST_TEMPERATURE = 0.02
LAST_TEMPERATURE = 0.0005
EVALUATIONS = 400
# Chance that a decision is drawn anew, at least one a step.
MUTATION = 0.1


def annealing(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Walks from a random strategy; after `EVALUATIONS` steps the temperature stays at its last value."""
    sizes = problem.decisions.sizes
    current = problem.random(rng, 1)
    reward = (yield current)[0]
    evaluations = 1
    while True:
        progress = min(1.0, evaluations / EVALUATIONS)
        temperature = FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** progress
        changed = rng.random(current.shape) < MUTATION
        changed[0, rng.integers(len(sizes))] = True
        neighbour = problem.within_budget(np.where(changed, rng.integers(sizes, size=current.shape), current))
        found = (yield neighbour)[0]
        evaluations += 1
        if found >= reward or rng.random() < np.exp((found - reward) / temperature):
            current, reward = neighbour, found
