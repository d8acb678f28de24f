"""CMA-ES (Hansen 2016) by the library `cmaes`, on the unit cube: each decision's values are bins of equal width."""

from __future__ import annotations

import numpy as np

from agents.search.method import SearchMethod
from compress_gym.problem import Problem
from compress_gym.support.errors import missing_extra

STEP_SIZE = 0.3


def cma_es(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Yields generations of the library's default size, moved into the budget; it is told what it had proposed.

    In fewer than two dimensions the method is not defined; a problem of one decision is given a second one that says
    nothing.
    """
    try:
        from cmaes import CMA
    except ModuleNotFoundError as error:
        raise missing_extra("cmaes", "agents", "CMA-ES") from error
    sizes = problem.decisions.sizes
    dimensions = max(2, len(sizes))
    bounds = np.tile([0.0, 1.0], (dimensions, 1))
    while True:
        optimizer = CMA(np.full(dimensions, 0.5), STEP_SIZE, bounds=bounds, seed=int(rng.integers(2**31)))
        while not optimizer.should_stop():
            points = [optimizer.ask() for _ in range(optimizer.population_size)]
            bins = (np.array(points)[:, : len(sizes)] * sizes).astype(np.int64)
            rewards = yield problem.within_budget(np.minimum(bins, sizes - 1))
            optimizer.tell([(point, -float(reward)) for point, reward in zip(points, rewards, strict=True)])
