"""The bounded cost of a strategy while it is being decided: what one choice changes, without summing every term.

A decision *touches* the terms that depend on it. For each touch a table is laid out, indexed by the term's decisions
up to this one: what the term costs with the later ones as in the cheapest strategy, and with the later ones at their
references, which leave the network as it was. The values of the touching decision lie side by side. So a strategy in
progress needs one number for each term, its *place*: the choices made so far, the last varying fastest. When all are
made, place and offset add up to the row of the term's table.

Kernels read all this from two arrays, in which it begins anywhere; handing over more arrays would take longer than
reading them. Positions in them are relative to that beginning. So the integers of `Stages` begin in `ints` at `layout`,
its costs in `floats` at `costs`, and each term's place in `places`, or row in `rows`, at `at`. (Views in every call
would cost more than the sums.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from compress_gym.problem.costs.terms import CostTerms
from compress_gym.problem.decisions import MAX_VALUES
from compress_gym.support.jit import Floats, Ints, inlined, within

# How the integers begin: how many terms; where in them lie, for each decision and term, the first touch by it or a
# later one, and each term's offset; where in the costs the terms' tables begin; where in them lies the choice to which
# each choice is lowered, `MAX_VALUES` a decision, -1 where there is none. Where each decision's touches begin follows.
TERMS, FOLLOWING, OFFSETS, TABLES, LOWER, STARTS = range(6)
# A touch: the term, where its tables begin in the costs, the decision's number of values and its choice in the cheapest
# strategy, its stride in the term's table, and whether the term has no later decision. Its tables hold, for each place
# of the term before, the costs of all values with the later decisions as in the cheapest strategy, then those with them
# at their references.
TOUCH = 6
TERM, AT, SIZE, CHEAPEST, STRIDE, LAST = range(TOUCH)
# Sums of changes and of terms differ in their last bits: closer than this to the limit, relative, terms are summed.
MARGIN = 1e-9


class Stages(NamedTuple):
    """What is known of one metric's cost terms at every stage of deciding.

    Attributes:
        ints: int64, as described above.
        costs: float64.
    """

    ints: Ints
    costs: Floats


def stages_of(
    terms: CostTerms,
    metric: int,
    sizes: Ints,
    cheapest: Ints,
    references: Ints,
    lower: Ints | None = None,
) -> Stages:
    """Lays out the stages of one metric.

    Args:
        terms: The cost terms.
        metric: Column of the metric.
        sizes: Values of each decision, int64 `[T]`.
        cheapest: The cheapest strategy, int64 `[T]`.
        references: The choices that leave the network as it was, int64 `[T]`.
        lower: To which choice each choice is lowered, int64 `[T, MAX_VALUES]`, -1 where to none; `None`: by one.
    """
    lower = np.tile(np.arange(MAX_VALUES) - 1, (len(sizes), 1)) if lower is None else lower
    table = np.ascontiguousarray(terms.tables[:, metric])
    used = [row[2 : 2 + 2 * row[1] : 2].tolist() for row in terms.terms]
    shaped = [
        table[row[0] :][: int(np.prod(sizes[u]))].reshape(sizes[u]) for row, u in zip(terms.terms, used, strict=True)
    ]
    touches, staged, length = list[list[int]](), list[Floats](), 0
    starts = [STARTS + len(sizes) + 1]
    for t in range(len(sizes)):
        for k, decided in enumerate(used):
            if t not in decided:
                continue
            later = decided[decided.index(t) + 1 :]
            fixed = [(Ellipsis, *map(int, choices[later])) for choices in (cheapest, references)]
            least, most = shaped[k][fixed[0]], shaped[k][fixed[1]]
            staged.append(np.stack([least, most], axis=-2).ravel())
            touches.append([k, length, int(sizes[t]), int(cheapest[t]), int(np.prod(sizes[later])), not later])
            length += len(staged[-1])
        starts.append(starts[0] + TOUCH * len(touches))
    following = np.full((len(sizes), len(used)), -1, dtype=np.int64)
    for t in range(len(sizes)):
        for i in range(starts[-1] - TOUCH, starts[t] - 1, -TOUCH):
            following[t, touches[(i - starts[0]) // TOUCH][TERM]] = i
    offsets = starts[-1] + following.size
    head = [len(used), starts[-1], offsets, length, offsets + len(used)]
    parts = [head, starts, np.array(touches).ravel(), following.ravel(), terms.terms[:, 0], lower.ravel()]
    return Stages(
        np.concatenate([np.asarray(part, dtype=np.int64) for part in parts]), np.concatenate([*staged, table])
    )


@within
def exact_cost(ints: Ints, layout: int, floats: Floats, costs: int, rows: Ints, at: int) -> float:
    """Sums the terms of a finished strategy in their order, as `strategy_cost` does: equal to it bit for bit."""
    total, table = 0.0, costs + ints[layout + TABLES]
    for k in range(at, at + ints[layout + TERMS]):
        total += floats[table + rows[k]]
    return total


@within
def exact_cost_with(
    ints: Ints, layout: int, floats: Floats, costs: int, places: Ints, at: int, t: int, choice: int
) -> float:
    """Sums the terms with a choice of decision `t`, later ones at the cheapest; as `strategy_cost`, bit for bit."""
    total, terms, table = 0.0, ints[layout + TERMS], costs + ints[layout + TABLES]
    following, offsets = layout + ints[layout + FOLLOWING] + t * terms, layout + ints[layout + OFFSETS]
    for k in range(terms):
        i, place = ints[following + k], places[at + k]
        if i < 0:
            total += floats[table + ints[offsets + k] + place]
        else:
            made = choice if i < ints[layout + STARTS + t + 1] else ints[layout + i + CHEAPEST]
            total += floats[costs + ints[layout + i + AT] + 2 * ints[layout + i + SIZE] * place + made]
    return total


@inlined
def touched_costs(
    ints: Ints, layout: int, floats: Floats, costs: int, places: Ints, at: int, t: int, size: int, sums: Floats
) -> None:
    """Sums the terms that decision `t` touches for each of its choices: float64 `[size]` or more, overwritten."""
    for other in range(size):
        sums[other] = 0.0
    for i in range(layout + ints[layout + STARTS + t], layout + ints[layout + STARTS + t + 1], TOUCH):
        base = costs + ints[i + AT] + 2 * size * places[at + ints[i + TERM]]
        own = floats[base : base + size]
        for other in range(size):
            sums[other] += own[other]


@inlined
def advance(ints: Ints, layout: int, places: Ints, at: int, t: int, size: int, choice: int) -> None:
    """Makes decision `t`: the places of the terms it touches follow."""
    for i in range(layout + ints[layout + STARTS + t], layout + ints[layout + STARTS + t + 1], TOUCH):
        k = at + ints[i + TERM]
        places[k] = places[k] * size + choice


@within
def to_rows(ints: Ints, layout: int, places: Ints, at: int) -> None:
    """Turns the places of a finished strategy into rows of the terms' tables, in place."""
    offsets = layout + ints[layout + OFFSETS]
    for k in range(ints[layout + TERMS]):
        places[at + k] += ints[offsets + k]


@within
def move(ints: Ints, layout: int, rows: Ints, at: int, t: int, moved: int) -> None:
    """Moves a choice of a finished strategy by so many: the rows of the terms it touches follow."""
    for i in range(layout + ints[layout + STARTS + t], layout + ints[layout + STARTS + t + 1], TOUCH):
        rows[at + ints[i + TERM]] += ints[i + STRIDE] * moved
