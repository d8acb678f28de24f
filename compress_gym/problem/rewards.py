"""The published rewards under their papers' names, each a small pure function. Accuracies are fractions of 1.

Each is written once and compiled: the scalar environment, the vector environment and `Problem.evaluate` call the same
function, so that they agree bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from compress_gym.support.errors import unknown_name
from compress_gym.support.jit import jit, within


@dataclass(frozen=True)
class Outcome:
    """What a finished episode is rewarded for.

    Attributes:
        accuracy: Accuracy of the compressed network, fraction of 1.
        baseline_accuracy: Accuracy of the uncompressed network, fraction of 1.
        cost_ratio: Bounded cost, as a fraction of the uncompressed network's.
        budget: The budget, as the same fraction.
        costs: Every cost under its name, with its unit.
        scores: Every score column under its name, `accuracy` among them, for instance `valid_loss`.
    """

    accuracy: float
    baseline_accuracy: float
    cost_ratio: float
    budget: float
    costs: Mapping[str, float]
    scores: Mapping[str, float] = field(default_factory=dict)


RewardFunction = Callable[[Outcome], float]


@within
def accuracy(accuracy: float, baseline_accuracy: float, cost_ratio: float, budget: float, macs: float) -> float:
    """Accuracy alone, under a hard budget (AMC, "resource-constrained compression")."""
    return accuracy


@within
def amc_macs(accuracy: float, baseline_accuracy: float, cost_ratio: float, budget: float, macs: float) -> float:
    """-error x ln(MACs) (AMC, "accuracy-guaranteed compression", R_FLOPs)."""
    return -(1.0 - accuracy) * math.log(macs)


@within
def haq(accuracy: float, baseline_accuracy: float, cost_ratio: float, budget: float, macs: float) -> float:
    """Lambda x (accuracy - baseline accuracy), lambda = 0.1 for percents, 10 for fractions (HAQ, "reward function")."""
    return 10.0 * (accuracy - baseline_accuracy)


@within
def galen(accuracy: float, baseline_accuracy: float, cost_ratio: float, budget: float, macs: float) -> float:
    """Accuracy + beta x |cost / target - 1|, beta = -5 (Galen's default, r6 in its code)."""
    return accuracy - 5.0 * abs(cost_ratio / budget - 1.0)


@within
def mnasnet(accuracy: float, baseline_accuracy: float, cost_ratio: float, budget: float, macs: float) -> float:
    """Accuracy x (cost / target)^-0.07 (MnasNet, eq. 2 with its soft constraint)."""
    return accuracy * (cost_ratio / budget) ** -0.07


def hat(outcome: Outcome) -> float:
    """-(validation loss) under a hard latency constraint (HAT, section 3.2: the fitness of its evolution)."""
    return -outcome.scores["valid_loss"]


# What kernels know rewards by; a function of an `Outcome` is none of them.
ACCURACY, AMC_MACS, HAQ, GALEN, MNASNET = range(5)
CUSTOM = -1


@within
def named_reward(
    code: int, accuracy_: float, baseline_accuracy: float, cost_ratio: float, budget: float, macs: float
) -> float:
    """Returns the reward of a code."""
    if code == ACCURACY:
        return accuracy(accuracy_, baseline_accuracy, cost_ratio, budget, macs)
    if code == AMC_MACS:
        return amc_macs(accuracy_, baseline_accuracy, cost_ratio, budget, macs)
    if code == HAQ:
        return haq(accuracy_, baseline_accuracy, cost_ratio, budget, macs)
    if code == GALEN:
        return galen(accuracy_, baseline_accuracy, cost_ratio, budget, macs)
    return mnasnet(accuracy_, baseline_accuracy, cost_ratio, budget, macs)


# For Python: its own logarithms and powers may differ in their last bits.
compiled_reward = jit(named_reward)


@dataclass(frozen=True)
class Reward:
    """A reward: its name, its code or its function, and whether it speaks of cost (only then may no budget hold).

    Attributes:
        name: Its name.
        uses_cost: Whether it speaks of cost.
        code: What kernels know it by; `CUSTOM`: they do not.
        custom: The function of an `Outcome` where kernels do not know it.
        columns: Score columns that it needs beside `accuracy`.
    """

    name: str
    uses_cost: bool
    code: int = CUSTOM
    custom: RewardFunction | None = None
    columns: tuple[str, ...] = ()

    def function(self, outcome: Outcome) -> float:
        """Returns the reward of an outcome."""
        if self.custom is not None:
            return float(self.custom(outcome))
        o, macs = outcome, outcome.costs.get("macs", math.nan)
        return compiled_reward(self.code, o.accuracy, o.baseline_accuracy, o.cost_ratio, float(o.budget), macs)


REWARDS: dict[str, Reward] = {
    "accuracy": Reward("accuracy", False, ACCURACY),
    "amc-macs": Reward("amc-macs", True, AMC_MACS),
    "haq": Reward("haq", False, HAQ),
    "galen": Reward("galen", True, GALEN),
    "mnasnet": Reward("mnasnet", True, MNASNET),
    "hat": Reward("hat", False, custom=hat, columns=("valid_loss",)),
}


def get_reward(reward: str | RewardFunction) -> Reward:
    """Returns a reward by name, or wraps a function of an `Outcome` (which is trusted to speak of cost).

    Raises:
        KeyError: The name is not registered.
    """
    if callable(reward):
        return Reward(getattr(reward, "__name__", "custom"), True, custom=reward)
    if reward not in REWARDS:
        raise unknown_name("reward", reward, REWARDS)
    return REWARDS[reward]
