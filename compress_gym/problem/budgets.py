"""Budgets that hold by construction: the rules `clip` (AMC's) and `repair` (HAQ's), jitted.

Both work on a strategy in progress, and take it as `costs/increments.py` does. A budget is never below the cost of the
cheapest strategy known.
"""

from __future__ import annotations

import numpy as np

from compress_gym.problem.costs.increments import (
    LOWER,
    MARGIN,
    TERMS,
    advance,
    exact_cost,
    exact_cost_with,
    move,
    to_rows,
    touched_costs,
)
from compress_gym.problem.costs.kernels import strategy_costs
from compress_gym.problem.decisions import MAX_VALUES
from compress_gym.support.jit import Floats, Ints, jit, within

BUDGET_RULES = ("clip", "repair", "none")
NONE, CLIP, REPAIR = -1, 0, 1
TOLERANCE = 1e-6


def rule_code(rule: str) -> int:
    """Returns the number by which kernels know a rule of `BUDGET_RULES`."""
    return {"clip": CLIP, "repair": REPAIR, "none": NONE}[rule]


@within
def exact_nearest_legal(
    ints: Ints,
    layout: int,
    floats: Floats,
    costs: int,
    places: Ints,
    at: int,
    t: int,
    size: int,
    before: int,
    wanted: int,
    limit: float,
) -> int:
    """Returns the legal choice of a decision nearest to the wanted one, ties to the cheaper.

    A choice of decision `t`, which has `size` values, is legal if the strategy costs at most `limit` with it,
    everything later as in the cheapest strategy. Its choice there, `before`, keeps the cost as it was, so there always
    is a legal one.
    """
    for distance in range(size):
        lower, upper = wanted - distance, wanted + distance
        low = exact_cost_with(ints, layout, floats, costs, places, at, t, lower) if lower >= 0 else np.inf
        high = exact_cost_with(ints, layout, floats, costs, places, at, t, upper) if upper < size else np.inf
        if low <= limit and (low <= high or high > limit):
            return lower
        if high <= limit:
            return upper
    return before


@within
def nearest_legal(
    ints: Ints,
    layout: int,
    floats: Floats,
    costs: int,
    places: Ints,
    at: int,
    t: int,
    size: int,
    before: int,
    wanted: int,
    cost: float,
    limit: float,
    sums: Floats,
) -> int:
    """Returns what `exact_nearest_legal` does, and asks it only where the last bits matter.

    `cost` is what the strategy costs with the decision as in the cheapest one, exact but for the last bits; `sums`,
    `[size]` or more, is overwritten.
    """
    touched_costs(ints, layout, floats, costs, places, at, t, size, sums)
    margin = MARGIN * limit
    highest = limit - cost + sums[before] + margin
    lower = wanted
    while lower >= 0 and sums[lower] > highest:
        lower -= 1
    upper, reach = wanted + 1, size if lower < 0 else min(size, 2 * wanted - lower + 1)
    while upper < reach and sums[upper] > highest:
        upper += 1
    if upper == reach:
        nearest, certain = lower, lower >= 0
    elif lower < 0 or upper - wanted < wanted - lower:
        nearest, certain = upper, True
    else:
        nearest, certain = lower if sums[lower] <= sums[upper] else upper, abs(sums[lower] - sums[upper]) > margin
    if certain and sums[nearest] < highest - 2 * margin:
        return nearest
    return exact_nearest_legal(ints, layout, floats, costs, places, at, t, size, before, wanted, limit)


@within
def repair(
    ints: Ints,
    layout: int,
    floats: Floats,
    costs: int,
    rows: Ints,
    at: int,
    choices: Ints,
    cheapest: Ints,
    limit: float,
) -> None:
    """Lowers choices, from the last decision to the first and again, until the budget holds; in place.

    Each is lowered to the choice that `Stages` says. Where costs are not monotone even the lowest choices may not fit;
    then the cheapest strategy is taken. The rows of terms follow.
    """
    lower = layout + ints[layout + LOWER]
    while exact_cost(ints, layout, floats, costs, rows, at) > limit:
        lowered = False
        for t in range(len(choices) - 1, -1, -1):
            choice = ints[lower + t * MAX_VALUES + choices[t]]
            if choice >= 0:
                move(ints, layout, rows, at, t, choice - choices[t])
                choices[t] = choice
                lowered = True
                if exact_cost(ints, layout, floats, costs, rows, at) <= limit:
                    return
        if not lowered:
            for t in range(len(choices)):
                move(ints, layout, rows, at, t, cheapest[t] - choices[t])
            for t in range(len(choices)):
                choices[t] = cheapest[t]
            return


@within
def inactive(conditions: Ints, t: int, choices: Ints) -> bool:
    """Returns whether a decision does not matter under what was chosen before it."""
    return conditions[t, 0] >= 0 and choices[conditions[t, 0]] < conditions[t, 1]


@jit
def keep_budget(
    ints: Ints, floats: Floats, sizes: Ints, conditions: Ints, cheapest: Ints, wanted: Ints, rule: int, limit: float
) -> Ints:
    """Returns what becomes of wanted strategies `[N, T]` under a rule: the same as an episode would make of them.

    Stages, sizes, conditions and the cheapest strategy are those of a `Problem` and its decisions; the rule is a code,
    the limit in the cost's unit, tolerance included.
    """
    kept, sums, places = wanted.copy(), np.empty(sizes.max()), np.empty(ints[TERMS], dtype=np.int64)
    at = layout = costs = np.int64(0)  # a literal would be a type of its own, for which everything is compiled again
    for n in range(len(wanted)):
        choices = kept[n]
        places[:] = 0
        for t in range(len(sizes)):
            if inactive(conditions, t, choices):
                choices[t] = 0
            elif rule == CLIP:
                cost = exact_cost_with(ints, layout, floats, costs, places, at, t, cheapest[t])
                choices[t] = nearest_legal(
                    ints, layout, floats, costs, places, at, t, sizes[t], cheapest[t], wanted[n, t], cost, limit, sums
                )
            advance(ints, layout, places, at, t, sizes[t], choices[t])
        if rule == REPAIR:
            to_rows(ints, layout, places, at)
            repair(ints, layout, floats, costs, places, at, choices, cheapest, limit)
            for t in range(len(sizes)):
                if inactive(conditions, t, choices):
                    choices[t] = 0
    return kept


def cheapest(sizes: Ints, terms: Ints, tables: Floats, metric: int, lowest: Ints | None = None) -> Ints:
    """Finds a cheap strategy by coordinate descent from the lowest choices (default: the first values), int64 `[T]`."""
    choices = np.zeros(len(sizes), dtype=np.int64) if lowest is None else lowest.copy()
    best, improved = strategy_costs(terms, tables, choices[None])[0, metric], True
    while improved:
        improved = False
        for t, size in enumerate(sizes):
            rows = np.tile(choices, (size, 1))
            rows[:, t] = np.arange(size)
            costs = strategy_costs(terms, tables, rows)[:, metric]
            if costs.min() < best:
                best, choices[t], improved = costs.min(), costs.argmin(), True
    return choices
