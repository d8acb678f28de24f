"""A run folder: what was run, every scored episode, the best strategy, and a picture.

    config.yml          what was run: method, environment, seed, hyper-parameters, versions, asset hash
    command.txt         the command line
    evaluations.csv     one row an evaluation, flushed as it comes
    best_strategy.json  the best feasible strategy so far, with its accuracy and costs
    curve.png           reward and best reward over evaluations

An *evaluation* is every scored episode or asked strategy, duplicates included.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import gymnasium as gym
import numpy as np
import yaml
from numpy.typing import NDArray

from compress_gym.problem import Evaluation, Problem
from compress_gym.problem.rewards import Outcome
from compress_gym.support.cards import write_atomically

PACKAGES = (
    "compress_gym",
    "gymnasium",
    "stable_baselines3",
    "sb3_contrib",
    "optuna",
    "cmaes",
    "scipy",
    "torch",
    "numpy",
    "numba",
)


@dataclass(frozen=True)
class Scored:
    """One evaluation.

    Attributes:
        strategy: Decision name to value.
        accuracy: Validation accuracy, fraction of 1.
        reward: The environment's reward.
        cost_ratio: Bounded cost as a fraction of the uncompressed one.
        feasible: Whether the budget holds.
        costs: Every cost under its name.
    """

    strategy: Mapping[str, int]
    accuracy: float
    reward: float
    cost_ratio: float
    feasible: bool
    costs: Mapping[str, float]

    @classmethod
    def from_info(cls, info: Mapping[str, Any], problem: Problem) -> Scored:
        """Builds one from the last step's info; the reward is computed again, since learners see it rounded."""
        costs = {name: float(info[name]) for name in problem.cost_terms.metrics}
        scores = {name: float(info[name]) for name in problem.columns}
        baseline, ratio, budget = info["baseline_accuracy"], info["cost_ratio"], float(problem.budget)
        outcome = Outcome(info["accuracy"], baseline, ratio, budget, costs, scores)
        reward = float(problem.reward_spec.function(outcome))
        return cls(info["strategy"], info["accuracy"], reward, ratio, info["feasible"], costs)

    @classmethod
    def of(cls, problem: Problem, strategies: NDArray[np.int64], result: Evaluation) -> list[Scored]:
        """Builds one entry for each evaluated strategy `[N, T]`."""
        return [
            cls(
                problem.describe(strategy),
                float(result.accuracy[n]),
                float(result.reward[n]),
                float(result.cost_ratio[n]),
                bool(result.feasible[n]),
                {name: float(values[n]) for name, values in result.costs.items()},
            )
            for n, strategy in enumerate(strategies)
        ]


@dataclass
class Run:
    """Writes a run folder while the run goes on; a context manager, so that Ctrl-C leaves a usable folder.

    Attributes:
        folder: The folder.
        scored: Every evaluation so far.
        seconds: When each was scored, from the start.
        best: The evaluation with the highest reward, the earliest of equals; feasible ones only, unless the run has no
            budget rule and the reward alone speaks.
    """

    folder: Path
    config: dict[str, Any]
    scored: list[Scored] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: Scored | None = None

    def __post_init__(self) -> None:
        """Creates the folder; one that holds a run already is refused."""
        if (self.folder / "config.yml").exists():
            raise ValueError(f"{self.folder} holds a run already; choose another --out or remove it")
        self.folder.mkdir(parents=True, exist_ok=True)
        versions = {name: _version(name) for name in PACKAGES}
        text = yaml.safe_dump({**self.config, "versions": versions}, sort_keys=False)
        write_atomically(self.folder / "config.yml", lambda p: p.write_text(text))
        (self.folder / "command.txt").write_text(shlex.join([*_program(), *sys.argv[1:]]) + "\n")
        self._file = (self.folder / "evaluations.csv").open("w", newline="")
        self._writer = csv.writer(self._file)
        self._started = time.perf_counter()

    def add(self, scored: Scored) -> None:
        """Records one evaluation."""
        if not self.scored:
            self._writer.writerow(_header(scored))
        self.seconds.append(time.perf_counter() - self._started)
        self.scored.append(scored)
        self._consider(scored)
        self._writer.writerow(_row(len(self.scored), self.seconds[-1], scored))
        self._file.flush()

    def _settle(self) -> None:
        """Makes list, CSV and best agree again: Ctrl-C may have fallen between two lines of `add`."""
        count = min(len(self.scored), len(self.seconds))
        del self.scored[count:], self.seconds[count:]
        text = io.StringIO()
        writer = csv.writer(text)
        if self.scored:
            writer.writerow(_header(self.scored[0]))
        self.best = None
        for number, (scored, seconds) in enumerate(zip(self.scored, self.seconds, strict=True), start=1):
            writer.writerow(_row(number, seconds, scored))
            self._consider(scored)
        write_atomically(self.folder / "evaluations.csv", lambda p: p.write_text(text.getvalue(), newline=""))

    def _consider(self, scored: Scored) -> None:
        counts = scored.feasible or self.config["environment"].get("budget_rule") == "none"
        if counts and (self.best is None or scored.reward > self.best.reward):
            self.best = scored

    def __enter__(self) -> Run:
        """Starts the run."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the CSV and writes the best strategy and the curve, however the run ended."""
        self._file.close()
        self._settle()
        if self.best is None:
            return
        best = {
            "evaluations": len(self.scored),
            "finished": kind is None,
            "reward": self.best.reward,
            "accuracy": self.best.accuracy,
            "cost_ratio": self.best.cost_ratio,
            "costs": dict(self.best.costs),
            "strategy": dict(self.best.strategy),
        }
        text = json.dumps(best, indent=2) + "\n"
        write_atomically(self.folder / "best_strategy.json", lambda p: p.write_text(text))
        from agents.plots import plot_curve

        plot_curve({self.config["method"]: self.scored}, self.folder / "curve.png")


def _header(scored: Scored) -> list[str]:
    fixed = ["evaluation", "seconds", "reward", "accuracy", "cost_ratio", "feasible"]
    return [*fixed, *scored.costs, *scored.strategy]


def _row(number: int, seconds: float, scored: Scored) -> list[Any]:
    fixed = [number, f"{seconds:.3f}", scored.reward, scored.accuracy, scored.cost_ratio, int(scored.feasible)]
    return [*fixed, *scored.costs.values(), *scored.strategy.values()]


def run_config(
    kind: str, method: str, env_id: str, settings: Mapping[str, Any], env: gym.Env, seed: int, evaluations: int
) -> dict[str, Any]:
    """Describes a run for its folder.

    Args:
        kind: `learner` or `search`.
        method: Name of the algorithm or method.
        env_id: Environment id.
        settings: Arguments of the environment.
        env: The environment itself, asked for its origin (task version, asset hash, device).
        seed: Of everything random.
        evaluations: The allowance.
    """
    _, info = env.reset(seed=seed)
    return {
        "method": method,
        "kind": kind,
        "env": env_id,
        "environment": {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()},
        "origin": {k: v for k, v in info.items() if k != "baseline"},
        "seed": seed,
        "evaluations": evaluations,
    }


def read_config(folder: Path) -> dict[str, Any]:
    """Reads a run folder's configuration.

    Raises:
        ValueError: The folder holds no run.
    """
    path = folder / "config.yml"
    if not path.exists():
        raise ValueError(f"{folder} holds no run: config.yml is missing")
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not readable as YAML") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: is no mapping of keys to values; the file is damaged")
    needed = {"method": str, "kind": str, "env": str, "environment": dict, "origin": dict}
    wrong = [key for key, kind in needed.items() if not isinstance(config.get(key), kind)]
    if wrong:
        raise ValueError(f"{path}: lacks {', '.join(wrong)}; the file is damaged or from another version")
    checked: dict[str, Any] = config
    return checked


def default_folder(method: str, env: str, task: str, seed: int) -> Path:
    """Returns the first free folder `runs/<env>/<task>/<method>_<seed>[_n]`."""
    base = Path("runs") / env / task / f"{method}_{seed}"
    number = 1
    folder = base
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}_{number}")
    return folder


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _program() -> list[str]:
    """Returns how this program was started: as a module, or from a file."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return ["python", sys.argv[0]] if spec is None else ["python", "-m", spec.name.removesuffix(".__main__")]
