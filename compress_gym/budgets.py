"""Budgets that hold by construction: the rules `clip` (AMC's) and `repair` (HAQ's), jitted.

Both work on a strategy in progress, see `costs/increments.py`. The reference is the cheapest strategy known; a budget
is never below its cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress_gym.costs.increments import MARGIN, exact_cost, exact_cost_with, move, touched_costs
from compress_gym.costs.kernels import strategy_cost
from compress_gym.jit import jit

BUDGET_RULES = ("clip", "repair", "none")
NONE, CLIP, REPAIR = -1, 0, 1
TOLERANCE = 1e-6


def rule_code(rule: str) -> int:
    """Returns the number by which kernels know a rule of `BUDGET_RULES`."""
    return {"clip": CLIP, "repair": REPAIR, "none": NONE}[rule]


@jit
def legal_costs(
    touches: NDArray[np.int64],
    table: NDArray[np.float64],
    rows: NDArray[np.int64],
    at: int,
    terms: int,
    choice: int,
    size: int,
    cost: float,
    limit: float,
    sums: NDArray[np.float64],
) -> None:
    """Writes what the terms that a decision touches cost for each of its choices, infinity for those that are illegal.

    A choice is legal if the strategy costs at most `limit` with it, everything later at the reference.

    Args:
        touches: The decision's touches.
        table: The bounded cost of every table row.
        rows: Holds each term's row.
        at: Where they begin.
        terms: How many they are.
        choice: The decision's choice now: the reference's.
        size: How many values it has.
        cost: What the strategy costs now.
        limit: The budget in the same unit.
        sums: float64 `[size]` or more, overwritten.
    """
    touched_costs(touches, table, rows, at, choice, size, sums)
    room, margin = limit - cost + sums[choice], MARGIN * limit
    for other in range(size):
        left = room - sums[other]
        if left <= margin and (
            left < -margin or exact_cost_with(touches, table, rows, at, terms, other - choice) > limit
        ):
            sums[other] = np.inf


@jit
def nearest_legal(
    touches: NDArray[np.int64],
    table: NDArray[np.float64],
    rows: NDArray[np.int64],
    at: int,
    terms: int,
    choice: int,
    size: int,
    wanted: int,
    cost: float,
    limit: float,
    sums: NDArray[np.float64],
) -> int:
    """Returns the legal choice of a decision nearest to the wanted one, ties to the cheaper.

    The reference choice keeps the cost as it was, so there always is one. Arguments as of `legal_costs`.
    """
    legal_costs(touches, table, rows, at, terms, choice, size, cost, limit, sums)
    for distance in range(size):
        lower, upper = wanted - distance, wanted + distance
        low = sums[lower] if lower >= 0 else np.inf
        high = sums[upper] if upper < size else np.inf
        if low == np.inf and high == np.inf:
            continue
        if abs(low - high) <= MARGIN * limit and lower < upper:
            low = exact_cost_with(touches, table, rows, at, terms, lower - choice)
            high = exact_cost_with(touches, table, rows, at, terms, upper - choice)
        return lower if low <= high else upper
    return choice


@jit
def repair(
    touches: NDArray[np.int64],
    starts: NDArray[np.int64],
    table: NDArray[np.float64],
    rows: NDArray[np.int64],
    at: int,
    terms: int,
    choices: NDArray[np.int64],
    reference: NDArray[np.int64],
    limit: float,
) -> None:
    """Lowers choices by one, from the last decision to the first and again, until the budget holds; in place.

    Where costs are not monotone even the lowest choices may not fit; then the reference is taken.

    Args:
        touches: Of all decisions.
        starts: Where those of each decision begin.
        table: The bounded cost of every table row.
        rows: Holds each term's row.
        at: Where they begin.
        terms: How many they are.
        choices: The strategy.
        reference: The cheapest strategy.
        limit: The budget.
    """
    while exact_cost(table, rows, at, terms) > limit:
        lowered = False
        for t in range(len(choices) - 1, -1, -1):
            if choices[t] > 0:
                choices[t] -= 1
                move(touches[starts[t] : starts[t + 1]], rows, at, np.int64(-1))
                lowered = True
                if exact_cost(table, rows, at, terms) <= limit:
                    return
        if not lowered:
            for t in range(len(choices)):
                move(touches[starts[t] : starts[t + 1]], rows, at, reference[t] - choices[t])
            for t in range(len(choices)):
                choices[t] = reference[t]
            return


@jit
def inactive(conditions: NDArray[np.int64], t: int, choices: NDArray[np.int64]) -> bool:
    """Returns whether a decision does not matter under what was chosen before it."""
    return conditions[t, 0] >= 0 and choices[conditions[t, 0]] < conditions[t, 1]


@jit
def keep_budget(
    touches: NDArray[np.int64],
    starts: NDArray[np.int64],
    reference_rows: NDArray[np.int64],
    table: NDArray[np.float64],
    sizes: NDArray[np.int64],
    conditions: NDArray[np.int64],
    reference: NDArray[np.int64],
    wanted: NDArray[np.int64],
    rule: int,
    limit: float,
) -> NDArray[np.int64]:
    """Returns what becomes of wanted strategies `[N, T]` under a rule: the same as an episode would make of them.

    Args:
        touches: From `touches_of`, as are the next two.
        starts: See there.
        reference_rows: See there.
        table: The bounded cost of every table row, float64 `[rows]`.
        sizes: Values of each decision.
        conditions: What each decision requires, see `DecisionSpace`.
        reference: The cheapest strategy.
        wanted: int64 `[N, T]`.
        rule: Code of the rule.
        limit: Budget in the cost's unit, tolerance included.
    """
    kept, sums, terms = wanted.copy(), np.empty(sizes.max()), len(reference_rows)
    at = np.int64(0)  # a literal would be a type of its own, for which everything is compiled again
    for n in range(len(wanted)):
        rows, choices = reference_rows.copy(), kept[n]
        for t in range(len(sizes)):
            own, before = touches[starts[t] : starts[t + 1]], reference[t]
            if inactive(conditions, t, choices):
                choices[t] = 0
            elif rule == CLIP:
                cost = exact_cost(table, rows, at, terms)
                choices[t] = nearest_legal(
                    own, table, rows, at, terms, before, sizes[t], wanted[n, t], cost, limit, sums
                )
            move(own, rows, at, choices[t] - before)
        if rule == REPAIR:
            repair(touches, starts, table, rows, at, terms, choices, reference, limit)
            for t in range(len(sizes)):
                if inactive(conditions, t, choices):
                    choices[t] = 0
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
