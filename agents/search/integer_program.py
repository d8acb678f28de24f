"""Integer programming on measured sensitivities (HAWQ-V3, Yao et al. 2021), which are added up.

HAWQ adds up Hessian traces. Here a decision's sensitivity is measured: the reward that is lost if it alone is lowered
in the uncompressed network. The cost is not approximated: a term over several decisions gets a variable for each of its
table rows, tied to the decisions' variables.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from agents.search.method import SearchMethod
from compress_gym.problem import Problem

# So many strategies are measured at most, evenly over each decision's values; sensitivities between are interpolated,
# of values without an order between neighbours by cost.
EVALUATIONS = 300
# Nodes of the search tree that are looked at; seconds would make the solution depend on the machine.
NODES = 100_000


def integer_program(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Measures sensitivities, solves the program, yields its solution and ends."""
    sizes = problem.decisions.sizes
    most = max(1, (EVALUATIONS - 1) // len(sizes))
    uncompressed, asked, places = problem.decisions.uncompressed, [problem.decisions.uncompressed], []
    ascending = [problem.ascending(t) for t in range(len(sizes))]
    for t, choices in enumerate(ascending):
        whole = int(np.flatnonzero(choices == uncompressed[t])[0])
        levels = np.linspace(0, sizes[t] - 1, min(sizes[t], most + 1)).round().astype(np.int64)
        places.append(np.setdiff1d(levels, [whole]))
        for choice in choices[places[-1]]:
            asked.append(np.where(np.arange(len(sizes)) == t, choice, uncompressed))
    rewards = yield np.array(asked)
    gains, at = [], 1
    for t, choices in enumerate(ascending):
        lost = np.zeros(sizes[t])  # what is not lost at the reference is 0
        lost[places[t]] = rewards[at : at + len(places[t])] - rewards[0]
        measured = np.union1d(places[t], np.flatnonzero(choices == uncompressed[t]))
        gain = np.empty(sizes[t])
        gain[choices] = np.interp(np.arange(sizes[t]), measured, lost[measured])
        gains.append(gain)
        at += len(places[t])
    yield problem.within_budget(solve(problem, gains))


def solve(problem: Problem, gains: list[NDArray[np.float64]]) -> NDArray[np.int64]:
    """Returns the strategy within the budget that has the highest sum of gains, `[T]`.

    Args:
        problem: Whose bounded cost and budget hold.
        gains: Of each choice of each decision.

    Returns:
        The optimum, or the cheapest strategy where the solver found none within `NODES`.
    """
    sizes, terms = problem.decisions.sizes, problem.cost_terms
    table = terms.tables[:, problem.metric]
    starts = np.concatenate([[0], np.cumsum(sizes)])  # of each decision's variables
    variables, costs = int(starts[-1]), [np.zeros(int(starts[-1]))]
    entries: list[tuple[int, int, float]] = []  # row, column and value of the equations
    sums: list[float] = []  # right-hand sides
    for t, size in enumerate(sizes):  # exactly one choice
        entries += [(len(sums), int(starts[t] + c), 1.0) for c in range(size)]
        sums.append(1.0)
    for offset, length, *pairs in terms.terms.tolist():
        used = [pairs[2 * d] for d in range(length)]
        rows = np.arange(int(np.prod([sizes[t] for t in used])))
        costs.append(table[offset + rows])
        for t, stride in zip(used, pairs[1 : 2 * length : 2], strict=True):  # a row's choices are the decisions'
            chosen = rows // stride % sizes[t]
            for c in range(sizes[t]):
                entries += [(len(sums), variables + int(r), 1.0) for r in rows[chosen == c]]
                entries.append((len(sums), int(starts[t] + c), -1.0))
                sums.append(0.0)
        if not used:  # a constant
            entries.append((len(sums), variables, 1.0))
            sums.append(1.0)
        variables += len(rows)
    row, column, value = zip(*entries, strict=True)
    equations = coo_array((value, (row, column)), shape=(len(sums), variables)).tocsc()
    cost = np.concatenate(costs)
    objective = np.zeros(variables)
    objective[: starts[-1]] = -np.concatenate(gains)
    integral = np.zeros(variables)
    integral[: starts[-1]] = 1  # the rows follow
    scale = problem.baseline_costs[problem.cost]
    found = milp(
        objective,
        integrality=integral,
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(equations, sums, sums),
            LinearConstraint(coo_array(cost[None] / scale).tocsc(), -np.inf, problem.cost_limit / scale),
        ],
        options={"node_limit": NODES},
    )
    if found.x is None:
        return problem.cheapest.copy()
    return np.array([int(np.argmax(found.x[a:b])) for a, b in zip(starts, starts[1:], strict=False)])
