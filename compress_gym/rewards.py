"""The published rewards under their papers' names. Accuracies are fractions of 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compress_gym.errors import unknown_name


@dataclass(frozen=True)
class Outcome:
    """What a finished episode is rewarded for.

    Attributes:
        accuracy: Accuracy of the compressed network, fraction of 1.
        baseline_accuracy: Accuracy of the uncompressed network, fraction of 1.
        cost_ratio: Bounded cost, as a fraction of the uncompressed network's.
        budget: The budget, as the same fraction.
        costs: Every cost under its name, with its unit.
    """

    accuracy: float
    baseline_accuracy: float
    cost_ratio: float
    budget: float
    costs: Mapping[str, float]


RewardFunction = Callable[[Outcome], float]


@dataclass(frozen=True)
class Reward:
    """A reward and whether it speaks of cost (only then may the budget go unenforced)."""

    name: str
    function: RewardFunction
    uses_cost: bool


def accuracy(outcome: Outcome) -> float:
    """Accuracy alone, under a hard budget (AMC, "resource-constrained compression")."""
    return outcome.accuracy


def amc_macs(outcome: Outcome) -> float:
    """-error x ln(MACs) (AMC, "accuracy-guaranteed compression", R_FLOPs)."""
    return -(1.0 - outcome.accuracy) * math.log(outcome.costs["macs"])


def haq(outcome: Outcome) -> float:
    """Lambda x (accuracy - baseline accuracy), lambda = 0.1 for percents, 10 for fractions (HAQ, "reward function")."""
    return 10.0 * (outcome.accuracy - outcome.baseline_accuracy)


def galen(outcome: Outcome) -> float:
    """Accuracy + beta x |cost / target - 1|, beta = -5 (Galen's default, r6 in its code)."""
    return outcome.accuracy - 5.0 * abs(outcome.cost_ratio / outcome.budget - 1.0)


def mnasnet(outcome: Outcome) -> float:
    """Accuracy x (cost / target)^-0.07 (MnasNet, eq. 2 with its soft constraint)."""
    return outcome.accuracy * (outcome.cost_ratio / outcome.budget) ** -0.07


REWARDS: dict[str, Reward] = {
    "accuracy": Reward("accuracy", accuracy, uses_cost=False),
    "amc-macs": Reward("amc-macs", amc_macs, uses_cost=True),
    "haq": Reward("haq", haq, uses_cost=False),
    "galen": Reward("galen", galen, uses_cost=True),
    "mnasnet": Reward("mnasnet", mnasnet, uses_cost=True),
}


def get_reward(reward: str | RewardFunction) -> Reward:
    """Returns a reward by name, or wraps a function of an `Outcome` (which is trusted to speak of cost).

    Raises:
        KeyError: The name is not registered.
    """
    if callable(reward):
        return Reward(getattr(reward, "__name__", "custom"), reward, uses_cost=True)
    if reward not in REWARDS:
        raise unknown_name("reward", reward, REWARDS)
    return REWARDS[reward]
