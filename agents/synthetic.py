"""Problems to tune hyper-parameters on: real networks and costs, invented accuracies. No benchmark reports them.

The networks are those of CIFAR-10 tasks that no suite holds, traced with fresh weights; their decisions,
multiply-accumulates and observations are real. What compression loses is invented: each decision has a sensitivity and
an exponent of its own, and narrow layers beside wide ones cost extra, so that decisions depend on each other as in a
real network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress_gym.kinds import get_case
from compress_gym.problem import Problem
from compress_gym.problem.decisions import DecisionSpace

TASKS = ("cifar10-resnet18", "cifar10-vgg16", "cifar10-plain20")
BUDGET = 0.5
CHANCE, BASELINE = 0.1, 0.92
# The whole loss where half of every layer is left: accuracies then spread as they do without fine-tuning.
LOSS_AT_HALF = 1.0
# Which part of it comes from neighbours of unequal width.
UNEVEN = 0.3


@dataclass(frozen=True, eq=False)
class InventedAccuracy:
    """An accuracy model without a network: chance + (baseline - chance) x exp(-loss).

    Attributes:
        sizes: Values of each decision, int64 `[T]`.
        sensitivity: Of each decision, float64 `[T]`.
        exponent: How suddenly its loss sets in, float64 `[T]`.
        unevenness: Of each pair of neighbours, float64 `[T - 1]`.
    """

    sizes: NDArray[np.int64]
    sensitivity: NDArray[np.float64]
    exponent: NDArray[np.float64]
    unevenness: NDArray[np.float64]
    source: str = "invented"
    baseline: float = BASELINE

    @classmethod
    def draw(cls, decisions: DecisionSpace, seed: int) -> InventedAccuracy:
        """Draws the losses of a network."""
        rng, count = np.random.default_rng(seed), len(decisions)
        exponent = rng.uniform(1.0, 3.0, count)
        sensitivity = rng.lognormal(sigma=1.0, size=count)
        sensitivity *= (1 - UNEVEN) * LOSS_AT_HALF / (sensitivity * 0.5**exponent).sum()
        unevenness = rng.lognormal(sigma=1.0, size=count - 1)
        unevenness *= UNEVEN * LOSS_AT_HALF / (unevenness * 0.5**2).sum()
        return cls(decisions.sizes, sensitivity, exponent, unevenness)

    def __call__(self, strategies: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns accuracies of strategies `[N, T]`, fractions of 1, float64 `[N]`."""
        kept = (strategies + 1) / self.sizes
        loss = (self.sensitivity * (1 - kept) ** self.exponent).sum(axis=1)
        loss += (self.unevenness * np.diff(kept, axis=1) ** 2).sum(axis=1)
        return CHANCE + (BASELINE - CHANCE) * np.exp(-loss)


def invented_problem(task: str, seed: int) -> Problem:
    """Builds a problem of a network of `TASKS` at half its multiply-accumulates; the seed draws what it loses."""
    case = get_case("ChannelPrune-v0", task)
    decisions = case.decisions()
    return case.assembled(
        decisions,
        InventedAccuracy.draw(decisions, seed),
        None,
        {"task": f"{task} (invented accuracies)", "seed": seed},
        cost="macs",
        budget=BUDGET,
        reward="accuracy",
    )
