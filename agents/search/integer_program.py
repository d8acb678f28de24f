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

# So many strategies are measured at most, evenly over each decision's values; sensitivities between are interpolated.
EVALUATIONS = 300
# Nodes of the search tree that are looked at; seconds would make the solution depend on the machine.
NODES = 100_000


def integer_program(problem: Problem, rng: np.random.Generator) -> SearchMethod:
    """Measures sensitivities, solves the program, yields its solution and ends."""
    sizes = problem.decisions.sizes
    most = max(1, (EVALUATIONS - 1) // len(sizes))
    levels = [np.unique(np.linspace(0, n - 1, min(n, most + 1)).round().astype(np.int64)) for n in sizes]
    asked = [sizes - 1]
    for t, choices in enumerate(levels):
        for choice in choices[:-1]:
            asked.append(np.where(np.arange(len(sizes)) == t, choice, sizes - 1))
    rewards = yield np.array(asked)
    gains, at = [], 1
    for choices, size in zip(levels, sizes, strict=True):
        measured = [*(rewards[at : at + len(choices) - 1] - rewards[0]), 0.0]
        gains.append(np.interp(np.arange(size), choices, measured))
        at += len(choices) - 1
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
        return problem.reference.copy()
    return np.array([int(np.argmax(found.x[a:b])) for a, b in zip(starts, starts[1:], strict=False)])
