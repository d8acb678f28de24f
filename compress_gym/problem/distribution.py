"""Many problems in one environment: each episode draws one, and a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any

from compress_gym.problem import Problem
from compress_gym.support.errors import unknown_name

# What `reset` can be asked for.
OPTIONS = ("task", "device", "budget")


@dataclass(frozen=True, eq=False)
class ProblemDistribution:
    """Problems that are drawn with equal probability, and the range from which budgets are drawn evenly.

    Attributes:
        problems: At least one.
        budgets: Lowest and highest budget; `None`: each problem keeps its own.
    """

    problems: tuple[Problem, ...]
    budgets: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Checks that every problem can keep every budget.

        Raises:
            ValueError: There are no problems, the range is none, or a budget is below some problem's cheapest strategy.
        """
        if not self.problems or not all(isinstance(problem, Problem) for problem in self.problems):
            raise ValueError(f"problems={self.problems!r} must hold at least one Problem, and nothing else")
        if self.budgets is None:
            return
        check_range(self.budgets)
        for problem in self.problems:
            try:
                problem.check_budget(self.budgets[0])
            except ValueError as error:
                where = ", ".join(f"{key}={problem.origin.get(key)!r}" for key in ("task", "device"))
                raise ValueError(f"budget={self.budgets} for {where}: {error}") from error

    @property
    def draws(self) -> bool:
        """Whether anything is drawn: of one problem with one budget, every episode starts alike."""
        return len(self.problems) > 1 or self.budgets is not None

    @classmethod
    def of(cls, source: Problem | ProblemDistribution | Sequence[Problem]) -> ProblemDistribution:
        """Makes a distribution of one problem, of several, or returns the one that is given."""
        if isinstance(source, ProblemDistribution):
            return source
        return cls((source,) if isinstance(source, Problem) else tuple(source))

    def numbers_of(self, options: dict[str, Any]) -> list[int]:
        """Returns the numbers of the problems that have the wanted origin: all of them if none is wanted.

        Args:
            options: May hold `task`, `device` and `budget`.

        Raises:
            KeyError: An option is something else.
            ValueError: No problem has the origin.
        """
        for name in options:
            if name not in OPTIONS:
                raise unknown_name("options", name, OPTIONS)
        wanted = {key: options[key] for key in ("task", "device") if key in options}
        found = [n for n, p in enumerate(self.problems) if all(p.origin.get(k) == v for k, v in wanted.items())]
        if not found:
            origins = [{key: p.origin.get(key) for key in ("task", "device")} for p in self.problems]
            names = {str(origin[key]) for origin in origins for key in wanted}
            close = [match for v in wanted.values() for match in get_close_matches(str(v), names - {v}, n=1)]
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"options={wanted} fit none of the problems; there are {origins}.{hint}")
        return found


def check_range(budgets: object) -> None:
    """Checks the range from which budgets are drawn.

    Raises:
        ValueError: It is no pair of fractions, lowest first.
    """
    pair = tuple(budgets) if isinstance(budgets, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(b, Real) and not isinstance(b, bool) for b in pair):
        raise ValueError(
            f"budget={budgets!r} must be one fraction, or a pair: the lowest and the highest that are drawn"
        )
    if not 0 < pair[0] <= pair[1] <= 1:
        raise ValueError(f"budget={budgets!r} must be a range (lowest, highest) within 0 and 1")
