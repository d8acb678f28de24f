"""The jitted sum of cost terms. It knows nothing of layers, convolutions or bits.

A term is one row of `terms`: `[offset, D, decision 1, stride 1, ..., decision D, stride D, padding]`. Its cost under
a strategy is row `offset + sum(stride * choice)` of `tables`, one column a metric.
"""

from __future__ import annotations

import numpy as np

from compress_gym.support.jit import Floats, Ints, jit, within


@within
def strategy_cost(terms: Ints, tables: Floats, metric: int, choices: Ints) -> float:
    """Returns one metric of one strategy `[T]`: the sum over terms, in their order."""
    total = 0.0
    for k in range(terms.shape[0]):
        row = terms[k, 0]
        for d in range(terms[k, 1]):
            row += terms[k, 3 + 2 * d] * choices[terms[k, 2 + 2 * d]]
        total += tables[row, metric]
    return total


def strategy_costs(terms: Ints, tables: Floats, strategies: Ints) -> Floats:
    """Returns all metrics of strategies `[N, T]` as float64 `[N, metrics]`.

    Each metric is summed in the order of `strategy_cost`, so the two agree bit for bit.
    """
    costs = np.zeros((len(strategies), tables.shape[1]))
    add_costs(terms, tables, strategies, costs)
    return costs


@jit
def add_costs(terms: Ints, tables: Floats, strategies: Ints, costs: Floats) -> None:
    """Adds what `strategy_costs` returns to zeros: NumPy makes them, numba would compile that anew."""
    for n in range(strategies.shape[0]):
        for k in range(terms.shape[0]):
            row = terms[k, 0]
            for d in range(terms[k, 1]):
                row += terms[k, 3 + 2 * d] * strategies[n, terms[k, 2 + 2 * d]]
            for metric in range(tables.shape[1]):
                costs[n, metric] += tables[row, metric]
