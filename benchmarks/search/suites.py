"""What is compared, as plain data: problems, methods, seeds, and which of them make up a suite.

To add an environment, add a line to `PROBLEMS`. The reward is `accuracy` and the budget rule `clip` throughout: methods
are ranked by accuracy within a budget that all of them keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compress_gym.support.errors import unknown_name

EVALUATIONS = 400
# Results after fewer evaluations are read off the same runs.
CHECKPOINTS = (100, EVALUATIONS)


@dataclass(frozen=True)
class BenchmarkProblem:
    """One environment with one task, one device and one budget.

    Attributes:
        env: Short id of a registered environment.
        task: Name of a shipped task; its own device is used.
        budget: Fraction of the uncompressed cost.
        cost: Which cost is bounded.
    """

    env: str
    task: str
    budget: float = 0.5
    cost: str = "latency_ms"

    @property
    def name(self) -> str:
        """How tables and folders call it."""
        return f"{self.env}/{self.task}"

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the environment."""
        return {
            "task": self.task,
            "cost": self.cost,
            "budget": self.budget,
            "budget_rule": "clip",
            "reward": "accuracy",
        }


@dataclass(frozen=True)
class Suite:
    """What one command runs.

    Attributes:
        problems: On what.
        methods: Names of learners and searches.
        seeds: Runs of each method on each problem.
    """

    problems: tuple[BenchmarkProblem, ...]
    methods: tuple[str, ...]
    seeds: int = 10


DIGITS = BenchmarkProblem("ChannelPrune-v0", "digits-cnn")
PROBLEMS = (
    DIGITS,
    BenchmarkProblem("ChannelPrune-v0", "cifar10-resnet20"),
    # At half the latency 8 and 4 bits lose almost nothing; at 0.25 random search always finds the optimum within 100.
    BenchmarkProblem("MixedQuant-v0", "digits-cnn", budget=0.23),
    BenchmarkProblem("JointPQ-v0", "digits-cnn", budget=0.2),
    # At a third of the latency a single decoder layer is left, and every search finds the same transformer.
    BenchmarkProblem("TransformerNAS-v0", "multi30k-ende"),
)
LEARNERS = ("ddpg", "ddpg-executed", "ddpg-amc", "td3", "sac", "ppo", "maskable-ppo")
SEARCHES = (
    "uniform",
    "shallow-heavy",
    "deep-heavy",
    "random",
    "hill-climb",
    "netadapt",
    "annealing",
    "evolution",
    "aging-evolution",
    "tpe",
    "gaussian-process",
    "cma-es",
    "integer-program",
)
# A Gaussian process takes minutes beyond a hundred evaluations.
ALLOWANCES = {"gaussian-process": 100}
# Whether DDPG learns from the executed action is compared once, on the first problem, by the quick suite.
COMPARED = tuple(learner for learner in LEARNERS if learner != "ddpg-executed")
SUITES = {
    # Less than ten minutes on two cores; a Gaussian process alone would take two more.
    "quick": Suite(
        (DIGITS,),
        (
            *("ddpg", "ddpg-executed", "td3", "sac", "ppo", "maskable-ppo"),
            *(search for search in SEARCHES if search != "gaussian-process"),
        ),
    ),
    "standard": Suite(PROBLEMS, (*COMPARED, *SEARCHES)),
    "full": Suite(PROBLEMS, (*LEARNERS, *SEARCHES), seeds=30),
}


def get_suite(name: str) -> Suite:
    """Returns a suite by name.

    Raises:
        KeyError: The name is not known; the message names the closest match.
    """
    if name not in SUITES:
        raise unknown_name("suite", name, SUITES)
    return SUITES[name]
