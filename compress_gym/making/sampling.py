"""Which strategies are measured: a sample over all budgets.

Independent choices do not give one: costs are products (of channels, of bits, or of both), so nearly all strategies lie
at the lower end. `broad_sample` spreads strategies of one kind of decision, `mixed_sample` those of several kinds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem import budgets
from compress_gym.problem.costs import CostTerms
from compress_gym.problem.costs.increments import stages_of
from compress_gym.problem.decisions import DecisionSpace

# Parts into which the ranges of the cost and of the MACs are cut, and draws for each strategy that is kept.
_PARTS = 10
_DRAWN = 50
# Levels beyond 0 and 1 are cut off there: so the ends, at which little can vary, are drawn often enough.
_LEVELS = (-0.2, 1.2)
_SPREADS = (0.05, 0.4)


def broad_sample(decisions: DecisionSpace, terms: CostTerms, metric: str, count: int, seed: int) -> NDArray[np.int64]:
    """Draws distinct strategies over the whole range of a cost, int64 `[count, T]`.

    First the uniform strategies (every decision at the same fraction), then, in turns: what a random agent does under a
    random budget, and strategies around a random level with a random spread.

    Raises:
        ValueError: The space has fewer strategies than that.
    """
    if count > decisions.count // 2:
        raise ValueError(f"count={count} is more than half of the {decisions.count} strategies; measure all of them")
    rng, sizes, column = np.random.default_rng(seed), decisions.sizes, terms.column(metric)
    cheapest = budgets.cheapest(sizes, terms.terms, terms.tables, column)
    lowest, highest = terms.evaluate(np.stack([cheapest, decisions.uncompressed]))[:, column]
    found = dict.fromkeys(map(tuple, uniform_strategies(decisions).tolist()))
    clip, stages = budgets.rule_code("clip"), stages_of(terms, column, sizes, cheapest, decisions.references)
    while len(found) < count:
        limit = rng.uniform(lowest, highest) * (1 + budgets.TOLERANCE)
        wanted = rng.integers(sizes, size=(1, len(sizes)))
        acted = budgets.keep_budget(*stages, sizes, decisions.conditions, cheapest, wanted, clip, limit)
        around = decisions.spread(rng, 1)
        found.update(dict.fromkeys([tuple(acted[0].tolist()), tuple(around[0].tolist())]))
    return np.array(list(found), dtype=np.int64)[:count]


def mixed_sample(decisions: DecisionSpace, terms: CostTerms, metric: str, count: int, seed: int) -> NDArray[np.int64]:
    """Draws distinct strategies evenly over the range of a cost, and at each cost evenly over the range of the MACs.

    A cost that channels and bits share can be kept by removing channels or by lowering bits, and agents try both: so at
    each cost there are strategies with many channels of few bits, with few channels of many bits, and between. Drawn
    are strategies with a random level for each kind of decision, from which their choices stray by a random spread.
    Where a part of the ranges holds fewer than its share, the others of the same cost, then other costs, get more.

    Returns:
        int64 `[count, T]`; among them the uniform strategies (every decision at the same fraction).

    Raises:
        ValueError: The space has fewer strategies than that, or too few were found.
    """
    if count > decisions.count // 2:
        raise ValueError(f"count={count} is more than half of the {decisions.count} strategies; measure all of them")
    uniform = uniform_strategies(decisions)
    drawn = _levelled(decisions, np.random.default_rng(seed), _DRAWN * count)
    rows = np.array(list(dict.fromkeys(map(tuple, np.concatenate([uniform, drawn]).tolist()))), dtype=np.int64)
    if len(rows) < count:
        raise ValueError(f"count={count}: only {len(rows)} distinct strategies were drawn; ask for fewer")
    costs = terms.evaluate(rows)
    part = _parts(costs[:, terms.column(metric)])
    cell = part * _PARTS + _parts(costs[:, terms.column("macs")])
    turn = _place_within(part, _place_within(cell, np.arange(len(rows))))
    turn[: len(uniform)] = -1  # they come first
    return rows[np.lexsort((part, turn))][:count]


def uniform_strategies(decisions: DecisionSpace) -> NDArray[np.int64]:
    """Returns the strategies in which every decision is at the same fraction of its values, int64 `[N, T]`."""
    levels = np.unique(np.concatenate([np.arange(n) / max(n - 1, 1) for n in decisions.sizes]))
    return np.unique(decisions.check(np.rint(levels[:, None] * (decisions.sizes - 1)).astype(np.int64)), axis=0)


def _levelled(decisions: DecisionSpace, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    kinds = np.array([d.kind for d in decisions.decisions])
    fractions = np.empty((count, len(decisions)))
    for kind in dict.fromkeys(kinds.tolist()):
        level, spread = rng.uniform(*_LEVELS, (count, 1)), rng.uniform(*_SPREADS, (count, 1))
        fractions[:, kinds == kind] = level + spread * rng.standard_normal((count, int((kinds == kind).sum())))
    return decisions.check(np.rint(fractions.clip(0, 1) * (decisions.sizes - 1)).astype(np.int64))


def _parts(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers the equal parts of a range that costs lie in, int64 `[N]`."""
    edges = np.linspace(costs.min(), costs.max(), _PARTS + 1)
    return np.searchsorted(edges[1:-1], costs, side="right").astype(np.int64)


def _place_within(groups: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers the members of each group in an order, int64 `[N]`."""
    by_group = np.lexsort((order, groups))
    sorted_groups = groups[by_group]
    places = np.empty_like(groups)
    places[by_group] = np.arange(len(groups)) - np.searchsorted(sorted_groups, sorted_groups)
    return places
