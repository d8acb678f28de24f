"""The kernels in plain Python, written from DESIGN's words and not from the kernels."""

from __future__ import annotations

from compress_gym.problem import Problem


def cost(problem: Problem, strategy: list[int], metric: int) -> float:
    total = 0.0
    for offset, used, *pairs in problem.cost_terms.terms.tolist():
        row = offset + sum(pairs[2 * d + 1] * strategy[pairs[2 * d]] for d in range(used))
        total += float(problem.cost_terms.tables[row, metric])
    return total


def choice(action: float, size: int) -> int:
    """K bins of equal width over [-1, 1]."""
    edges = [-1 + 2 * (k + 1) / size for k in range(size)]
    return next((k for k, edge in enumerate(edges) if action < edge), size - 1)


def clip(problem: Problem, wanted: list[int]) -> list[int]:
    limit, metric = problem.cost_limit, problem.metric
    strategy = problem.reference.tolist()
    for t, want in enumerate(wanted):
        legal = []
        for c in range(int(problem.decisions.sizes[t])):
            total = cost(problem, [*strategy[:t], c, *strategy[t + 1 :]], metric)
            if total <= limit:
                legal.append((abs(c - want), total, c))
        strategy[t] = min(legal)[2]
    return strategy


def repair(problem: Problem, wanted: list[int]) -> list[int]:
    limit, metric, strategy = problem.cost_limit, problem.metric, list(wanted)
    while cost(problem, strategy, metric) > limit:
        if not any(strategy):
            return problem.reference.tolist()
        for t in reversed(range(len(strategy))):
            if strategy[t] > 0:
                strategy[t] -= 1
                if cost(problem, strategy, metric) <= limit:
                    return strategy
    return strategy
