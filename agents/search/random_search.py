"""Random search: what a uniformly random policy would do."""

from __future__ import annotations

import numpy as np

from agents.search.method import SearchMethod
from compress_gym.problem import Problem


def random_search(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Yields random strategies, moved into the budget as an episode would."""
    while True:
        yield problem.random(rng, 1)
