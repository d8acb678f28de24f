"""What agents may be trained on and what they are tested on: networks, devices and budgets kept apart.

    >>> import gymnasium as gym
    >>> from compress_gym.kinds import get_kind
    >>> split = get_kind("MixedQuant-v0").split
    >>> envs = gym.make_vec("compress_gym/MixedQuant-v0", num_envs=16, **split.train)
    >>> sorted({test.unseen for test in split.tests})
    ['budget', 'device', 'device and budget']

An agent that was trained on `train` is asked for one strategy of each of `tests`, without searching there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any


@dataclass(frozen=True)
class HeldOutProblem:
    """One problem to test on.

    Attributes:
        settings: Arguments of the environment: `task`, `device`, `budget`.
        unseen: What of it no training episode had: `network`, `device`, `budget`, joined by "and".
    """

    settings: dict[str, Any]
    unseen: str


@dataclass(frozen=True)
class TrainTestSplit:
    """Problems of one environment for training and for testing.

    A budget is at least what the cheapest strategy costs on each of the devices.

    Attributes:
        train_tasks: Networks that are trained on,
        test_tasks: and others.
        train_devices: Devices that are trained on,
        test_devices: and others; `auto` is the device that was measured for a task.
        train_budgets: The range that training episodes draw from,
        test_budgets: and budgets outside of it; what is seen of budgets is tested in the middle of the range.
    """

    train_tasks: tuple[str, ...]
    test_tasks: tuple[str, ...]
    train_devices: tuple[str, ...]
    test_devices: tuple[str, ...]
    train_budgets: tuple[float, float]
    test_budgets: tuple[float, ...]

    @property
    def train(self) -> dict[str, Any]:
        """Arguments of the environment to train in: `task`, `device` and `budget` are drawn anew for each episode."""
        return {"task": list(self.train_tasks), "device": list(self.train_devices), "budget": self.train_budgets}

    @property
    def tests(self) -> tuple[HeldOutProblem, ...]:
        """Every problem of which at least one of network, device and budget is unseen."""
        low, high = self.train_budgets
        tasks = [(t, False) for t in self.train_tasks] + [(t, True) for t in self.test_tasks]
        devices = [(d, False) for d in self.train_devices] + [(d, True) for d in self.test_devices]
        budgets = [((low + high) / 2, False)] + [(b, True) for b in self.test_budgets]
        found = []
        for (task, new_task), (device, new_device), (budget, new_budget) in product(tasks, devices, budgets):
            marks = zip(("network", "device", "budget"), (new_task, new_device, new_budget), strict=True)
            if unseen := " and ".join(name for name, new in marks if new):
                found.append(HeldOutProblem({"task": task, "device": device, "budget": budget}, unseen))
        return tuple(found)
