"""What the environments of all kinds share: from names of tasks and devices to problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from compress_gym.envs.compression import CompressionEnv
from compress_gym.envs.vector import CompressionVectorEnv
from compress_gym.kinds.shared.case import get_case
from compress_gym.kinds.shared.kind import Kind
from compress_gym.kinds.shared.registry import KINDS
from compress_gym.problem import Problem
from compress_gym.problem.distribution import ProblemDistribution, draw_from
from compress_gym.problem.rewards import RewardFunction
from compress_gym.problem.scores import AccuracyModel

Tasks = str | Sequence[str] | None
Devices = str | None | Sequence[str | None]
Budgets = float | Sequence[float] | None


def problem_of(kind: Kind, task: str, device: str | None = "auto", **settings: Any) -> Problem:
    """Builds the problem of a kind and a task; see `Case.problem`."""
    return get_case(kind, task).problem(device, **settings)


def distribution_of(
    kind: Kind, task: Tasks = None, device: Devices = "auto", budget: Budgets = None, **settings: Any
) -> ProblemDistribution:
    """Builds one problem for each task and device; what is `None` is the kind's default."""
    defaults = kind.defaults
    task = defaults["task"] if task is None else task
    budget = defaults.get("budget", 0.5) if budget is None else budget
    return draw_from(partial(problem_of, kind), task, device, budget, **settings)


class KindEnv(CompressionEnv):
    """A `CompressionEnv` of named tasks and devices; its subclasses say of which kind, and are documented.

    Attributes:
        kind: What it compresses, and how.
    """

    kind: ClassVar[Kind]

    def __init__(
        self,
        task: Tasks = None,
        device: Devices = "auto",
        cost: str | None = None,
        budget: Budgets = None,
        budget_rule: str = "clip",
        reward: str | RewardFunction = "mnasnet",
        accuracy: str | AccuracyModel = "auto",
        action_type: str = "continuous",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Builds the environment; see the class docstring for the arguments."""
        problems = distribution_of(
            self.kind,
            task,
            device,
            budget,
            accuracy=accuracy,
            cost=cost,
            budget_rule=budget_rule,
            reward=reward,
            **options,
        )
        super().__init__(problems, action_type, render_mode)


def vector_env(
    kind: Kind,
    num_envs: int,
    *,
    task: Tasks = None,
    device: Devices = "auto",
    budget: Budgets = None,
    action_type: str = "continuous",
    render_mode: str | None = None,
    autoreset_mode: str = "NextStep",
    copy: bool = True,
    num_threads: int = 1,
    **settings: Any,
) -> CompressionVectorEnv:
    """Builds the native vector environment of a kind.

    Args:
        kind: The kind.
        num_envs: How many environments.
        task: As of the kind's environment, like the next four.
        device: See there.
        budget: See there.
        action_type: See there.
        render_mode: See there.
        autoreset_mode: See `CompressionVectorEnv`, like the next two.
        copy: See there.
        num_threads: See there.
        **settings: What the environment takes beside.
    """
    problems = distribution_of(kind, task, device, budget, **settings)
    return CompressionVectorEnv(problems, num_envs, action_type, render_mode, autoreset_mode, copy, num_threads)


def __getattr__(name: str) -> Callable[..., CompressionVectorEnv]:
    """Returns the builder of the vector environment of a kind's id: Gymnasium's entry points name attributes."""
    if name not in KINDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(vector_env, KINDS[name])
