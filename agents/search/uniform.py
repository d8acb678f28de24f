"""Uniform: the same fraction of channels everywhere, the largest that fits. One evaluation."""

from __future__ import annotations

import numpy as np

from agents.search.method import SearchMethod
from compress_gym.problem import Problem


def uniform(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Yields the largest uniform strategy within the budget."""
    yield problem.uniform()[None]
