"""Budgets that hold by construction: the rules `clip` (AMC's) and `repair` (HAQ's), jitted.

Both work on `choices` `[T]` in place. `reference` is the cheapest strategy known; a budget is never below its cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress_gym.costs.kernels import strategy_cost
from compress_gym.jit import jit

BUDGET_RULES = ("clip", "repair", "none")
NONE, CLIP, REPAIR = -1, 0, 1
TOLERANCE = 1e-6


def rule_code(rule: str) -> int:
    """Returns the number by which kernels know a rule of `BUDGET_RULES`."""
    return {"clip": CLIP, "repair": REPAIR, "none": NONE}[rule]


@jit
def nearest_legal(
    choices: NDArray[np.int64],
    t: int,
    wanted: int,
    size: int,
    limit: float,
    terms: NDArray[np.int64],
    tables: NDArray[np.float64],
    metric: int,
) -> int:
    """Returns the legal choice of decision `t` nearest to the wanted one, ties to the cheaper.

    A choice is legal if the strategy costs at most `limit` with it, everything after `t` at the reference.
    The reference choice itself keeps the cost as it was, so there always is one.
    """
    before = choices[t]
    found = before
    for distance in range(size):
        lower, upper = wanted - distance, wanted + distance
        lower_cost = upper_cost = np.inf
        if lower >= 0:
            choices[t] = lower
            lower_cost = strategy_cost(terms, tables, metric, choices)
        if distance > 0 and upper < size:
            choices[t] = upper
            upper_cost = strategy_cost(terms, tables, metric, choices)
        if lower_cost <= limit or upper_cost <= limit:
            found = lower if lower_cost <= upper_cost else upper
            break
    choices[t] = before
    return found


@jit
def legal_choices(
    choices: NDArray[np.int64],
    t: int,
    size: int,
    limit: float,
    terms: NDArray[np.int64],
    tables: NDArray[np.float64],
    metric: int,
) -> NDArray[np.bool_]:
    """Returns which choices of decision `t` are legal under `clip`, bool `[size]`."""
    before = choices[t]
    legal = np.zeros(size, dtype=np.bool_)
    for choice in range(size):
        choices[t] = choice
        legal[choice] = strategy_cost(terms, tables, metric, choices) <= limit
    choices[t] = before
    return legal


@jit
def repair(
    choices: NDArray[np.int64],
    reference: NDArray[np.int64],
    limit: float,
    terms: NDArray[np.int64],
    tables: NDArray[np.float64],
    metric: int,
) -> None:
    """Lowers choices by one, from the last decision to the first and again, until the budget holds.

    Where costs are not monotone even the lowest choices may not fit; then the reference is taken.
    """
    while strategy_cost(terms, tables, metric, choices) > limit:
        lowered = False
        for t in range(choices.shape[0] - 1, -1, -1):
            if choices[t] > 0:
                choices[t] -= 1
                lowered = True
                if strategy_cost(terms, tables, metric, choices) <= limit:
                    return
        if not lowered:
            choices[:] = reference
            return


@jit
def keep_budget(
    strategies: NDArray[np.int64],
    rule: int,
    sizes: NDArray[np.int64],
    reference: NDArray[np.int64],
    limit: float,
    terms: NDArray[np.int64],
    tables: NDArray[np.float64],
    metric: int,
) -> NDArray[np.int64]:
    """Returns what becomes of wanted strategies `[N, T]` under a rule: the same as an episode would make of them."""
    kept = strategies.copy()
    for n in range(kept.shape[0]):
        if rule == CLIP:
            kept[n] = reference
            for t in range(kept.shape[1]):
                kept[n, t] = nearest_legal(kept[n], t, strategies[n, t], sizes[t], limit, terms, tables, metric)
        elif rule == REPAIR:
            repair(kept[n], reference, limit, terms, tables, metric)
    return kept


def cheapest(
    sizes: NDArray[np.int64], terms: NDArray[np.int64], tables: NDArray[np.float64], metric: int
) -> NDArray[np.int64]:
    """Finds a cheap strategy by coordinate descent from the lowest choices, int64 `[T]`."""
    choices = np.zeros(len(sizes), dtype=np.int64)
    best = strategy_cost(terms, tables, metric, choices)
    improved = True
    while improved:
        improved = False
        for t, size in enumerate(sizes):
            for choice in range(size):
                before, choices[t] = choices[t], choice
                cost = strategy_cost(terms, tables, metric, choices)
                if cost < best:
                    best, improved = cost, True
                else:
                    choices[t] = before
    return choices
