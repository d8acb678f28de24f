"""Which strategies are measured: a broad sample over all budgets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress_gym import budgets
from compress_gym.costs import CostTerms
from compress_gym.costs.increments import stages_of
from compress_gym.decisions import DecisionSpace


def broad_sample(decisions: DecisionSpace, terms: CostTerms, metric: str, count: int, seed: int) -> NDArray[np.int64]:
    """Draws distinct strategies over the whole range of a cost.

    First the uniform strategies (every decision at the same fraction), then, in turns: what a random agent does
    under a random budget, and strategies around a random level with a random spread.

    Args:
        decisions: The space.
        terms: Its costs.
        metric: The cost whose range is covered.
        count: How many strategies.
        seed: Of the draws.

    Returns:
        int64 `[count, T]`.

    Raises:
        ValueError: The space has fewer strategies than that.
    """
    if count > decisions.count // 2:
        raise ValueError(f"count={count} is more than half of the {decisions.count} strategies; measure all of them")
    rng, sizes, column = np.random.default_rng(seed), decisions.sizes, terms.column(metric)
    reference = budgets.cheapest(sizes, terms.terms, terms.tables, column)
    lowest, highest = terms.evaluate(np.stack([reference, sizes - 1]))[:, column]
    levels = np.unique(np.concatenate([np.arange(n) / max(n - 1, 1) for n in sizes]))
    uniform = decisions.check(np.rint(levels[:, None] * (sizes - 1)).astype(np.int64))
    found = dict.fromkeys(map(tuple, uniform.tolist()))
    clip, stages = budgets.rule_code("clip"), stages_of(terms, column, sizes, reference)
    while len(found) < count:
        limit = rng.uniform(lowest, highest) * (1 + budgets.TOLERANCE)
        wanted = rng.integers(sizes, size=(1, len(sizes)))
        acted = budgets.keep_budget(*stages, sizes, decisions.conditions, reference, wanted, clip, limit)
        around = decisions.spread(rng, 1)
        found.update(dict.fromkeys([tuple(acted[0].tolist()), tuple(around[0].tolist())]))
    return np.array(list(found), dtype=np.int64)[:count]
