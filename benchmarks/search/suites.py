"""What is compared, as plain data: problems, methods, seeds, and which of them make up a suite.

Problems are those that kinds name as their `benchmarks`. The reward is `accuracy` and the budget rule `clip`
throughout: methods are ranked by accuracy within a budget that all of them keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compress_gym.kinds import KINDS
from compress_gym.support.errors import unknown_name
from compress_gym.tasks import get_task

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


def problems_of_kinds(quick: bool = False) -> tuple[BenchmarkProblem, ...]:
    """Returns the benchmarks of all kinds, or the quick ones, in the order in which their tasks name the kinds."""
    tasks = [get_task(benchmark.task) for kind in KINDS.values() for benchmark in kind.benchmarks]
    named = dict.fromkeys(kind for task in tasks for kind in task.declared.kinds if kind in KINDS)
    return tuple(
        BenchmarkProblem(kind, benchmark.task, benchmark.budget)
        for kind in dict.fromkeys((*named, *KINDS))
        for benchmark in KINDS[kind].benchmarks
        if benchmark.quick or not quick
    )


PROBLEMS, QUICK = problems_of_kinds(), problems_of_kinds(quick=True)
# Where it is asked whether learners learn.
DIGITS = QUICK[0]
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
        QUICK,
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
