"""The kernels in plain Python, written from DESIGN's words and not from the kernels."""

from __future__ import annotations

from compress_gym.problem import Problem
from compress_gym.problem.costs import Term


def cost(terms: list[Term], strategy: list[int], metric: int) -> float:
    """Sums the terms as they were before they were packed."""
    total = 0.0
    for term in terms:
        total += float(term.table[tuple(strategy[t] for t in term.decisions)][metric])
    return total


def choice(action: float, size: int) -> int:
    """K bins of equal width over [-1, 1]."""
    edges = [-1 + 2 * (k + 1) / size for k in range(size)]
    return next((k for k, edge in enumerate(edges) if action < edge), size - 1)


def clip(problem: Problem, terms: list[Term], wanted: list[int]) -> list[int]:
    limit, metric = problem.cost_limit, problem.metric
    strategy = problem.reference.tolist()
    for t, want in enumerate(wanted):
        if inactive(problem, strategy, t):
            strategy[t] = 0
            continue
        legal = []
        for c in range(int(problem.decisions.sizes[t])):
            total = cost(terms, [*strategy[:t], c, *strategy[t + 1 :]], metric)
            if total <= limit:
                legal.append((abs(c - want), total, c))
        strategy[t] = min(legal)[2]
    return strategy


def inactive(problem: Problem, strategy: list[int], t: int) -> bool:
    """A decision whose requirement is not met."""
    decisions = problem.decisions
    if decisions.decisions[t].requires is None:
        return False
    name, least = decisions.decisions[t].requires
    u = decisions.names.index(name)
    return decisions.decisions[u].values[strategy[u]] < least


def canonical(problem: Problem, strategy: list[int]) -> list[int]:
    for t in range(len(strategy)):
        strategy = [*strategy[:t], 0 if inactive(problem, strategy, t) else strategy[t], *strategy[t + 1 :]]
    return strategy


def repair(problem: Problem, terms: list[Term], wanted: list[int]) -> list[int]:
    return canonical(problem, lowered(problem, terms, canonical(problem, wanted)))


def lowered(problem: Problem, terms: list[Term], wanted: list[int]) -> list[int]:
    limit, metric, strategy = problem.cost_limit, problem.metric, list(wanted)
    while cost(terms, strategy, metric) > limit:
        if not any(strategy):
            return problem.reference.tolist()
        for t in reversed(range(len(strategy))):
            if strategy[t] > 0:
                strategy[t] -= 1
                if cost(terms, strategy, metric) <= limit:
                    return strategy
    return strategy


def observed(problem: Problem, terms: list[Term], made: list[int]) -> dict[str, float]:
    """The columns of an observation that change during an episode, one decision a step."""
    m, count = problem.metric, len(problem.decisions)
    highest = (problem.decisions.sizes - 1).tolist()
    full = cost(terms, highest, m)
    decided = len(made)
    known = [term for term in terms if all(t < decided for t in term.decisions)]
    previous = (made[-1] + 0.5) / int(problem.decisions.sizes[decided - 1]) if made else 0.0
    values = {
        "position": decided / count,
        "spent": cost(known, [*made, *highest[decided:]], m) / full,
        "least_total": cost(terms, [*made, *problem.reference.tolist()[decided:]], m) / full,
        "most_total": cost(terms, [*made, *highest[decided:]], m) / full,
        "budget": problem.budget,
        "previous_action": previous,
    }
    if decided < count:
        own = [term for term in terms if decided in term.decisions]
        for name in problem.cost_terms.metrics:
            metric = problem.cost_terms.column(name)
            values[f"share_of_{name}"] = cost(own, highest, metric) / cost(terms, highest, metric)
        values["share_of_bounded_cost"] = values[f"share_of_{problem.cost}"]
    return {name: min(1.0, value) for name, value in values.items()}
