"""What the environments of all kinds share: from names of tasks and devices to problems."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from compress_gym.envs.compression import CompressionEnv
from compress_gym.envs.vector import CompressionVectorEnv
from compress_gym.kinds.shared.case import get_case
from compress_gym.kinds.shared.kind import Kind
from compress_gym.kinds.shared.registry import KINDS
from compress_gym.problem import Problem
from compress_gym.problem.distribution import ProblemDistribution, check_range
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
    """Builds one problem for each task and device; what is `None` is the kind's default.

    Raises:
        ValueError: An empty list, or a range of budgets that is none.
    """
    tasks = _listed("task", kind.defaults["task"] if task is None else task)
    devices = _listed("device", device)
    budgets = None
    if isinstance(budget, (tuple, list)):
        check_range(budget)
        budgets = float(budget[0]), float(budget[1])
        budget = budgets[1]
    problems = tuple(problem_of(kind, t, d, budget=budget, **settings) for t in tasks for d in devices)
    return ProblemDistribution(problems, budgets)


def _listed(name: str, value: Any) -> list[Any]:
    """Returns one value or several as a list."""
    listed = [value] if value is None or isinstance(value, (str, os.PathLike)) else value
    if not isinstance(listed, Iterable):
        raise ValueError(f"{name}={value!r} must be a name, or a list of names")
    if not (listed := list(listed)):
        raise ValueError(f"{name}={listed} must name at least one")
    return listed


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
    action_type: str = "continuous",
    render_mode: str | None = None,
    autoreset_mode: str = "NextStep",
    copy: bool = True,
    num_threads: int = 1,
    **settings: Any,
) -> CompressionVectorEnv:
    """Builds the native vector environment of a kind; settings are what its environment takes beside."""
    problems = distribution_of(kind, **settings)
    return CompressionVectorEnv(problems, num_envs, action_type, render_mode, autoreset_mode, copy, num_threads)


def __getattr__(name: str) -> Callable[..., CompressionVectorEnv]:
    """Returns the builder of the vector environment of a kind's id: Gymnasium's entry points name attributes."""
    if name not in KINDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(vector_env, KINDS[name])
