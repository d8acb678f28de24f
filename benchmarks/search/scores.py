"""From runs to matrices of scores `[runs, problems]`, and the comparisons that the report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agents.statistics import (
    bootstrap_interval,
    improvement_interval,
    interquartile_mean,
    normalised,
    probability_of_improvement,
)
from benchmarks.search.records import RunRecord
from benchmarks.search.references import Reference


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Results:
    """The runs of a suite.

    Attributes:
        problems: Names of the problems, in order.
        methods: Names of the methods, in order.
        runs: Seeds of each method on each problem.
        records: The runs by problem and method, ordered by seed.
        references: By problem.
    """

    problems: tuple[str, ...]
    methods: tuple[str, ...]
    runs: int
    records: Mapping[tuple[str, str], Sequence[RunRecord]]
    references: Mapping[str, Reference]

    @classmethod
    def of(
        cls,
        problems: Sequence[str],
        methods: Sequence[str],
        runs: int,
        records: Sequence[RunRecord],
        references: Mapping[str, Reference],
    ) -> Results:
        """Sorts runs by problem and method.

        Raises:
            ValueError: Runs are missing or doubled; the message counts them.
        """
        cells: dict[tuple[str, str], list[RunRecord]] = {(p, m): [] for p in problems for m in methods}
        for record in sorted(records, key=lambda r: r.seed):
            if (record.problem, record.method) in cells:
                cells[record.problem, record.method].append(record)
        for (problem, method), found in cells.items():
            if [r.seed for r in found] != list(range(runs)):
                seeds = [r.seed for r in found]
                raise ValueError(f"{method} on {problem} has seeds {seeds}; expected each of 0 to {runs - 1} once")
        return cls(tuple(problems), tuple(methods), runs, cells, references)

    @cached_property
    def normalised_problems(self) -> tuple[str, ...]:
        """The problems that enter aggregates: their two references are far enough apart."""
        return tuple(p for p in self.problems if self.references[p].normalises)

    def accuracy(self, problem: str, method: str, evaluations: int) -> NDArray[np.float64] | None:
        """Returns each run's best accuracy after so many evaluations, `[runs]`.

        Returns:
            `None` where a run has none, see `RunRecord.best_at`.
        """
        found = [record.best_at(evaluations) for record in self.records[problem, method]]
        return None if any(x is None for x in found) else np.array(found, dtype=np.float64)

    def matrix(self, method: str, evaluations: int) -> NDArray[np.float64] | None:
        """Returns normalised scores `[runs, problems]` of the aggregate's problems; `None` where any is missing."""
        columns = []
        for problem in self.normalised_problems:
            accuracy, ends = self.accuracy(problem, method, evaluations), self.references[problem]
            if accuracy is None:
                return None
            columns.append(normalised(accuracy, ends.uniform, ends.best))
        return np.stack(columns, axis=1) if columns else None

    def aggregate(self, method: str, evaluations: int) -> Estimate | None:
        """Returns the interquartile mean of the normalised scores."""
        matrix = self.matrix(method, evaluations)
        return None if matrix is None else Estimate(interquartile_mean(matrix), *bootstrap_interval(matrix))

    def improvement(self, method: str, other: str, evaluations: int) -> Estimate | None:
        """Returns how likely a run of a method beats one of another on a problem of the aggregate."""
        if method not in self.methods or other not in self.methods:
            return None
        first, second = self.matrix(method, evaluations), self.matrix(other, evaluations)
        if first is None or second is None:
            return None
        return Estimate(probability_of_improvement(first, second), *improvement_interval(first, second))

    def better_from(self, method: str, other: str, points: Sequence[int]) -> int | None:
        """Returns from which of some numbers of evaluations on a method beats another.

        A method beats another where the whole interval of `improvement` is above one half.

        Args:
            method: The one.
            other: The other.
            points: Numbers of evaluations, ascending.

        Returns:
            The first point from which on this is so to the last point, `None` where it is not so at the last.
        """
        first = None
        for point in reversed(points):
            estimate = self.improvement(method, other, point)
            if estimate is None or estimate.low <= 0.5:
                break
            first = point
        return first

    def regret_points(self, problem: str, method: str, evaluations: int) -> NDArray[np.float64] | None:
        """Returns by how many points (percent) each run's best stays below the best known strategy, `[runs]`."""
        accuracy = self.accuracy(problem, method, evaluations)
        return None if accuracy is None else 100 * (self.references[problem].best - accuracy)
