"""Hill climbing with restarts: from a random strategy, take the first neighbour that is better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.search.method import SearchMethod
from compress_gym.problem import Problem


def hill_climb(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Climbs until no neighbour is better, then starts again elsewhere; the uniform strategy comes first."""
    current = problem.uniform()
    while True:
        (best,) = yield current[None]
        climbing = True
        while climbing:
            climbing = False
            for neighbour in neighbours(problem, current, rng):
                (reward,) = yield neighbour[None]
                if reward > best:
                    current, best, climbing = neighbour, reward, True
                    break
        current = problem.random(rng, 1)[0]


def neighbours(problem: Problem, strategy: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns the distinct strategies one move away, in random order, moved into the budget.

    A move changes one choice by one, or gives one step from a decision to another.
    """
    steps = np.eye(len(strategy), dtype=np.int64)
    moves = [steps, -steps, *(steps[[t]] - np.delete(steps, t, axis=0) for t in range(len(strategy)))]
    moved = np.clip(strategy + np.concatenate(moves), 0, problem.decisions.sizes - 1)
    kept = np.unique(problem.within_budget(moved), axis=0)
    kept = kept[(kept != strategy).any(axis=1)]
    return rng.permutation(kept)
