"""Many problems in one environment: each episode draws one, and a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from compress_gym.problem import Problem


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
        if not self.problems:
            raise ValueError("problems=() must hold at least one problem")
        if self.budgets is None:
            return
        low, high = self.budgets
        if not 0 < low <= high <= 1:
            raise ValueError(f"budget={self.budgets} must be a range (lowest, highest) within 0 and 1")
        for problem in self.problems:
            try:
                problem.limit_of(low)
            except ValueError as error:
                raise ValueError(f"{dict(problem.origin)}: {error}") from error

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

    def number_of(self, options: dict[str, Any]) -> int:
        """Returns the number of the problem that has the wanted origin, -1 if none is wanted.

        Args:
            options: May hold `task` and `device`.

        Raises:
            ValueError: No problem has it, or several do.
        """
        wanted = {key: options[key] for key in ("task", "device") if key in options}
        if not wanted:
            return -1
        found = [n for n, p in enumerate(self.problems) if all(p.origin.get(k) == v for k, v in wanted.items())]
        if len(found) != 1:
            origins = [{key: p.origin.get(key) for key in ("task", "device")} for p in self.problems]
            raise ValueError(f"options={wanted} fit {len(found)} problems, not one; there are {origins}")
        return found[0]


def draw_from(
    build: Callable[..., Problem],
    task: str | Sequence[str],
    device: str | None | Sequence[str | None],
    budget: float | Sequence[float],
    **settings: Any,
) -> ProblemDistribution:
    """Builds one problem for each task and device.

    Args:
        build: Takes `task`, `device`, `budget` and the settings.
        task: A name, or several.
        device: A name, or several.
        budget: A fraction, or the pair of the lowest and the highest that are drawn.
        **settings: The same for all.

    Raises:
        ValueError: An empty list, or a range of budgets that is none.
    """
    tasks = [task] if isinstance(task, str) else list(task)
    devices = [device] if device is None or isinstance(device, str) else list(device)
    for name, values in (("task", tasks), ("device", devices)):
        if not values:
            raise ValueError(f"{name}={values} must name at least one")
    if not isinstance(budget, (tuple, list)):
        return ProblemDistribution(tuple(build(t, d, budget=budget, **settings) for t in tasks for d in devices))
    if len(budget) != 2:
        raise ValueError(
            f"budget={budget!r} must be one fraction, or a pair: the lowest and the highest that are drawn"
        )
    low, high = float(budget[0]), float(budget[1])
    problems = tuple(build(t, d, budget=high, **settings) for t in tasks for d in devices)
    return ProblemDistribution(problems, (low, high))
