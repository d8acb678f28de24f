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
    strategy = problem.cheapest.tolist()
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
    return strategy[u] < decisions.decisions[u].values.index(least)


def canonical(problem: Problem, strategy: list[int]) -> list[int]:
    for t in range(len(strategy)):
        strategy = [*strategy[:t], 0 if inactive(problem, strategy, t) else strategy[t], *strategy[t + 1 :]]
    return strategy


def repair(problem: Problem, terms: list[Term], wanted: list[int]) -> list[int]:
    return canonical(problem, lowered(problem, terms, canonical(problem, wanted)))


def lowered(problem: Problem, terms: list[Term], wanted: list[int]) -> list[int]:
    limit, metric, strategy = problem.cost_limit, problem.metric, list(wanted)
    while cost(terms, strategy, metric) > limit:
        if all(lower(problem, terms, t, c) is None for t, c in enumerate(strategy)):
            return problem.cheapest.tolist()
        for t in reversed(range(len(strategy))):
            choice = lower(problem, terms, t, strategy[t])
            if choice is not None:
                strategy[t] = choice
                if cost(terms, strategy, metric) <= limit:
                    return strategy
    return strategy


def references(problem: Problem) -> list[int]:
    """What leaves the network as it was: the stated values, or the last ones."""
    return [
        len(d.values) - 1 if d.reference is None else d.values.index(d.reference) for d in problem.decisions.decisions
    ]


def lower(problem: Problem, terms: list[Term], t: int, choice: int) -> int | None:
    """Numbers below their reference go down by one; others go to the next cheaper, all else uncompressed."""
    decision, row = problem.decisions.decisions[t], references(problem)
    if isinstance(decision.values[0], int) and row[t] == len(decision.values) - 1:
        return choice - 1 if choice else None
    name = decision.name
    while (requires := problem.decisions.decisions[problem.decisions.names.index(name)].requires) is not None:
        name = requires[0]
        u = problem.decisions.names.index(name)
        row[u] = max(row[u], problem.decisions.decisions[u].values.index(requires[1]))
    alone = [cost(terms, [*row[:t], c, *row[t + 1 :]], problem.metric) for c in range(len(decision.values))]
    cheaper = [(alone[c], c) for c in range(len(alone)) if alone[c] < alone[choice]]
    return max(cheaper)[1] if cheaper else None


def observed(problem: Problem, terms: list[Term], made: list[int]) -> dict[str, float]:
    """The columns of an observation that change during an episode, one decision a step."""
    m, count = problem.metric, len(problem.decisions)
    whole = references(problem)
    full = cost(terms, whole, m)
    decided = len(made)
    known = [term for term in terms if all(t < decided for t in term.decisions)]
    previous = (made[-1] + 0.5) / int(problem.decisions.sizes[decided - 1]) if made else 0.0
    values = {
        "position": decided / count,
        "spent": cost(known, [*made, *whole[decided:]], m) / full,
        "least_total": cost(terms, [*made, *problem.cheapest.tolist()[decided:]], m) / full,
        "most_total": cost(terms, [*made, *whole[decided:]], m) / full,
        "budget": problem.budget,
        "previous_action": previous,
    }
    if decided < count:
        own = [term for term in terms if decided in term.decisions]
        for name in problem.cost_terms.metrics:
            metric = problem.cost_terms.column(name)
            values[f"share_of_{name}"] = cost(own, whole, metric) / cost(terms, whole, metric)
        values["share_of_bounded_cost"] = values[f"share_of_{problem.cost}"]
    return {name: min(1.0, value) for name, value in values.items()}
