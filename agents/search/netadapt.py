"""Greedy, layer by layer (NetAdapt, Yang et al. 2018): each round shrinks the one layer whose loss is smallest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.search.method import SearchMethod
from compress_gym.problem import Problem

# The rounds are as many as this allowance pays for.
EVALUATIONS = 400


def netadapt(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Goes from the uncompressed network down to the budget, which only the last rounds keep; then it ends.

    Each round has a lower ceiling, geometrically down to the budget. Each decision alone is lowered until the ceiling
    holds, or as far as it goes; the best of these strategies goes on.
    """
    current = problem.decisions.uncompressed
    rounds = max(1, EVALUATIONS // len(current))
    cost, limit = _cost(problem, current[None])[0], problem.cost_limit
    ceilings = list(np.geomspace(cost, limit, rounds + 1)[1:-1]) + [limit]
    while cost > limit:
        ceiling = next(c for c in ceilings if c < cost)
        proposals = lowered(problem, current, ceiling)
        if not len(proposals):  # costs are not monotone here: nothing single is cheaper
            yield problem.cheapest[None]
            return
        rewards = yield proposals
        current = proposals[int(np.argmax(rewards))]
        cost = _cost(problem, current[None])[0]
    yield current[None]


def lowered(problem: Problem, strategy: NDArray[np.int64], ceiling: float) -> NDArray[np.int64]:
    """Returns, for each decision, the strategy with its highest lower choice that keeps a ceiling.

    Where none does, its cheapest lower choice is taken; where no lower choice is cheaper at all, it is left out.
    """
    before, found = _cost(problem, strategy[None])[0], []
    for t, choice in enumerate(strategy):
        lower = problem.lowered(t, choice)
        options = np.repeat(strategy[None], len(lower), axis=0)
        options[:, t] = lower
        costs = _cost(problem, options) if len(lower) else np.empty(0)
        fitting = np.flatnonzero(costs <= ceiling)
        if len(fitting):
            found.append(options[fitting[-1]])
        elif len(costs) and costs.min() < before:
            found.append(options[int(np.argmin(costs))])
    return np.array(found, dtype=np.int64).reshape(-1, len(strategy))


def _cost(problem: Problem, strategies: NDArray[np.int64]) -> NDArray[np.float64]:
    return problem.costs(strategies)[problem.cost]
