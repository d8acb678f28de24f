"""AMC's hand-made policies: more is removed from the shallow layers, or from the deep ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agents.search.method import SearchMethod
from compress_gym.problem import Problem

# Beyond 1 the outermost layers stay at their lowest choice and the slope reaches further in.
_SLOPES = np.linspace(0.0, 20.0, 4001)


def shallow_heavy(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Yields the strategy that keeps everything in the last layer, and less and less towards the first."""
    yield sloped(problem, lambda slope, depth: 1 - slope * (1 - depth))[None]


def deep_heavy(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Yields the strategy that keeps everything in the first layer, and less and less towards the last."""
    yield sloped(problem, lambda slope, depth: 1 - slope * depth)[None]


def sloped(
    problem: Problem, kept: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.int64]:
    """Returns the gentlest slope that fits the budget.

    Args:
        problem: What is compressed.
        kept: From the slope `[S, 1]` and the depth of each decision `[T]`, 0 to 1, to the fraction of it that is kept.

    Returns:
        Choices `[T]`; the cheapest strategy if even the steepest slope is too expensive.
    """
    raised = [problem.raised(t) for t in range(len(problem.decisions))]
    highest = np.array([len(choices) - 1 for choices in raised])
    depth = np.linspace(0.0, 1.0, len(highest))
    places = np.rint(np.clip(kept(_SLOPES[:, None], depth), 0, 1) * highest).astype(np.int64)
    candidates = np.stack([choices[place] for choices, place in zip(raised, places.T, strict=True)], axis=1)
    fitting = np.flatnonzero(problem.costs(candidates)[problem.cost] <= problem.cost_limit)
    return candidates[fitting[0]] if len(fitting) else problem.cheapest.copy()
