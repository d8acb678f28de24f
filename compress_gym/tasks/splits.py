"""What agents may be trained on and what they are tested on: networks, devices and budgets kept apart.

    >>> import gymnasium as gym
    >>> from compress_gym.tasks.splits import get_split
    >>> split = get_split("MixedQuant-v0")
    >>> envs = gym.make_vec("compress_gym/MixedQuant-v0", num_envs=16, **split.train)
    >>> sorted({test.unseen for test in split.tests})
    ['budget', 'device', 'device and budget']

An agent that was trained on `train` is asked for one strategy of each of `tests`, without searching there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from compress_gym.support.errors import unknown_name


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
class TaskSplit:
    """Problems of one environment for training and for testing.

    Attributes:
        env: Short id of the environment.
        train_tasks: Networks that are trained on,
        test_tasks: and others.
        train_devices: Devices that are trained on,
        test_devices: and others; `auto` is the device that was measured for a task.
        train_budgets: The range that training episodes draw from,
        test_budgets: and budgets outside of it; what is seen of budgets is tested in the middle of the range.
    """

    env: str
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


# A budget of a split is at least what the cheapest strategy costs on each of its devices. Only that of
# ChannelPrune holds a network out: on bitfusion bits alone save little of the larger one, and there is one transformer.
SPLITS: dict[str, TaskSplit] = {
    split.env: split
    for split in (
        TaskSplit(
            "ChannelPrune-v0",
            train_tasks=("digits-cnn",),
            test_tasks=("cifar10-resnet20",),
            train_devices=("bitfusion", "bismo-edge"),
            test_devices=("bismo-cloud", "auto"),
            train_budgets=(0.75, 0.85),
            test_budgets=(0.95,),
        ),
        TaskSplit(
            "MixedQuant-v0",
            train_tasks=("digits-cnn",),
            test_tasks=(),
            train_devices=("bismo-edge", "bitfusion"),
            test_devices=("bismo-cloud",),
            train_budgets=(0.65, 0.9),
            test_budgets=(0.56,),
        ),
        TaskSplit(
            "JointPQ-v0",
            train_tasks=("digits-cnn",),
            test_tasks=(),
            train_devices=("bismo-edge", "bismo-cloud"),
            test_devices=("bitfusion",),
            train_budgets=(0.35, 0.6),
            test_budgets=(0.7,),
        ),
        TaskSplit(
            "TransformerNAS-v0",
            train_tasks=("multi30k-ende",),
            test_tasks=(),
            train_devices=("auto",),
            test_devices=(),
            train_budgets=(0.4, 0.7),
            test_budgets=(0.3333, 0.8),
        ),
    )
}


def get_split(env: str) -> TaskSplit:
    """Returns the split of an environment.

    Raises:
        KeyError: The environment has none; the message names the closest match.
    """
    if env not in SPLITS:
        raise unknown_name("env", env, SPLITS)
    return SPLITS[env]
