"""Cost terms: dense tables over the few decisions that one layer's cost depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem.costs.kernels import strategy_costs
from compress_gym.problem.decisions import DecisionSpace


@dataclass(frozen=True)
class Term:
    """One layer's cost.

    Attributes:
        name: The layer's name, for people.
        decisions: Indices of the decisions it depends on; none for a constant.
        table: float64 `[choices of decision 1, ..., choices of decision D, metrics]`.
    """

    name: str
    decisions: tuple[int, ...]
    table: NDArray[np.float64]


@dataclass(frozen=True)
class CostTerms:
    """Terms packed for the kernel; a network's cost is their sum.

    Attributes:
        metrics: Names of the metrics, with their units, in column order.
        terms: int64 `[terms, 2 + 2 * most decisions]`, see `costs/kernels.py`.
        tables: float64 `[rows, metrics]`.
        estimated: How many operations have a latency that was not measured itself, by how it was made.
    """

    metrics: tuple[str, ...]
    terms: NDArray[np.int64]
    tables: NDArray[np.float64]
    estimated: Mapping[str, int] = field(default_factory=dict)

    def evaluate(self, strategies: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the metrics of strategies `[N, T]` as float64 `[N, metrics]`."""
        return strategy_costs(self.terms, self.tables, strategies)

    def column(self, metric: str) -> int:
        """Returns a metric's column."""
        return self.metrics.index(metric)


def pack(decisions: DecisionSpace, metrics: Sequence[str], terms: Sequence[Term]) -> CostTerms:
    """Packs terms for the kernel; those that depend on the same decisions become one.

    Args:
        decisions: The space the terms refer to.
        metrics: Names of the tables' last axis.
        terms: At least one term.

    Raises:
        ValueError: A table's shape does not fit its decisions, or a cost is negative or not finite.
    """
    merged: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for term in terms:
        sizes = [int(decisions.sizes[d]) for d in term.decisions]
        if term.table.shape != (*sizes, len(metrics)):
            raise ValueError(f"cost term {term.name!r} has shape {term.table.shape}; expected {(*sizes, len(metrics))}")
        if not np.isfinite(term.table).all() or (term.table < 0).any():
            raise ValueError(f"cost term {term.name!r} holds a negative or non-finite cost")
        order = sorted(range(len(sizes)), key=term.decisions.__getitem__)
        table = term.table.transpose(*order, len(sizes))
        used = tuple(sorted(term.decisions))
        merged[used] = merged[used] + table if used in merged else table
    packed = np.zeros((len(merged), 2 + 2 * max(map(len, merged))), dtype=np.int64)
    offset = 0
    for row, used in zip(packed, merged, strict=True):
        sizes = [int(decisions.sizes[d]) for d in used]
        row[:2] = offset, len(sizes)
        for d, decision in enumerate(used):
            row[2 + 2 * d : 4 + 2 * d] = decision, int(np.prod(sizes[d + 1 :]))
        offset += int(np.prod(sizes))
    tables = np.concatenate([table.reshape(-1, len(metrics)) for table in merged.values()])
    return CostTerms(tuple(metrics), packed, np.ascontiguousarray(tables))
