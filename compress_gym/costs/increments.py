"""The bounded cost of a strategy while it is being decided: what one choice changes, without summing every term.

A strategy in progress is its choices `[T]`, what is not decided yet standing at the reference (the cheapest strategy),
and the table row of each cost term under them `[K]`. A decision's *touches* are the terms that depend on it. A touch is
the term, its stride, two *gaps*, and whether no later decision changes it. The gaps lead from the term's row to the one
in which every decision that is not made yet has its highest value, before and after this one is made.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress_gym.costs.terms import CostTerms
from compress_gym.jit import jit

TOUCH = 5
TERM, STRIDE, GAP_BEFORE, GAP_AFTER, LAST = range(TOUCH)
# Sums of changes and of terms differ in their last bits: closer than this to the limit, relative, terms are summed.
MARGIN = 1e-9


def touches_of(
    terms: CostTerms, sizes: NDArray[np.int64], reference: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Lays out which terms each decision touches.

    Returns:
        The touches of all decisions, int64 `[touches, 5]`; where those of each decision begin, `[T + 1]`; and each
        term's row under the reference, `[K]`.
    """
    used = [dict(zip(row[2 : 2 + 2 * row[1] : 2], row[3 : 3 + 2 * row[1] : 2], strict=True)) for row in terms.terms]
    offsets = terms.terms[:, 0].tolist()
    rows = [at + sum(int(reference[t] * s) for t, s in u.items()) for at, u in zip(offsets, used, strict=True)]
    rest = sizes - 1 - reference
    starts, touches = [0], list[list[int]]()
    for t in range(len(sizes)):
        for k, strides in enumerate(used):
            if t in strides:
                gaps = [sum(int(s * rest[u]) for u, s in strides.items() if u >= v) for v in (t, t + 1)]
                touches.append([k, int(strides[t]), *gaps, int(max(strides) == t)])
        starts.append(len(touches))
    return (
        np.array(touches, dtype=np.int64).reshape(-1, TOUCH),
        np.array(starts, dtype=np.int64),
        np.array(rows, dtype=np.int64),
    )


@jit
def exact_cost(table: NDArray[np.float64], rows: NDArray[np.int64], at: int, terms: int) -> float:
    """Sums the terms in their order, as `strategy_cost` does: equal to it bit for bit.

    Args:
        table: The bounded cost of every table row, float64.
        rows: Holds each term's row, int64. (Views of it in every call would cost more than the sums.)
        at: Where they begin.
        terms: How many they are.
    """
    total = 0.0
    for k in range(at, at + terms):
        total += table[rows[k]]
    return total


@jit
def moved_cost(
    touches: NDArray[np.int64], table: NDArray[np.float64], rows: NDArray[np.int64], at: int, moved: int
) -> float:
    """Returns by how much the cost rises if a decision's choice is moved by so many; `touches` are the decision's."""
    total = 0.0
    for i in range(len(touches)):
        row = rows[at + touches[i, TERM]]
        total += table[row + touches[i, STRIDE] * moved] - table[row]
    return total


@jit
def touched_costs(
    touches: NDArray[np.int64],
    table: NDArray[np.float64],
    rows: NDArray[np.int64],
    at: int,
    choice: int,
    size: int,
    sums: NDArray[np.float64],
) -> None:
    """Sums the terms that a decision touches for each of its choices.

    Args:
        touches: The decision's.
        table: The bounded cost of every table row.
        rows: Holds each term's row.
        at: Where they begin.
        choice: The decision's choice now.
        size: How many values it has.
        sums: float64 `[size]` or more, overwritten.
    """
    for other in range(size):
        sums[other] = 0.0
    for i in range(len(touches)):
        stride = touches[i, STRIDE]
        lowest = rows[at + touches[i, TERM]] - stride * choice
        for other in range(size):
            sums[other] += table[lowest + stride * other]


@jit
def move(touches: NDArray[np.int64], rows: NDArray[np.int64], at: int, moved: int) -> None:
    """Moves a decision's choice by so many: the rows of the terms it touches follow."""
    for i in range(len(touches)):
        rows[at + touches[i, TERM]] += touches[i, STRIDE] * moved


@jit
def exact_cost_with(
    touches: NDArray[np.int64], table: NDArray[np.float64], rows: NDArray[np.int64], at: int, terms: int, moved: int
) -> float:
    """Returns what the strategy costs if a decision's choice is moved by so many."""
    move(touches, rows, at, moved)
    total = exact_cost(table, rows, at, terms)
    move(touches, rows, at, -moved)
    return total
