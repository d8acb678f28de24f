"""Train on some networks, test on another: `python -m benchmarks.search.generalisation`.

One agent is trained on every task of an environment but one, with budgets drawn anew for each episode. Its
deterministic policy then compresses the task that was left out, at the benchmark's budget: one episode, one
evaluation, nothing is learnt there. It stands beside the uniform strategy, which needs one evaluation too, beside the
mean of random episodes, and beside an agent of the same settings that was trained on the task itself.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import gymnasium as gym
import numpy as np
from rich.progress import Progress
from stable_baselines3 import PPO

from agents.commands import make
from agents.learners import policy_strategy
from agents.vec_env import CompressionVecEnv
from benchmarks.search.references import Reference, reference
from benchmarks.search.statistics import bootstrap_interval, interquartile_mean
from benchmarks.search.suites import PROBLEMS, BenchmarkProblem
from benchmarks.search.versions import build
from compress_gym.cards import provenance, write_atomically
from compress_gym.commands import run_command
from compress_gym.processor import one_thread

RESULTS = Path(__file__).parents[1] / "results" / "search"
BUDGETS = (0.35, 0.8)
ENVIRONMENTS = 16
# Rollouts of so many steps of each environment; plain settings, the same for all.
SETTINGS: dict[str, Any] = {"n_steps": 48, "batch_size": 192, "n_epochs": 10, "gamma": 1.0, "learning_rate": 1e-3}
RANDOM_EPISODES = 1000


@dataclass(frozen=True)
class Transfer:
    """What agents do on a task, accuracies as fractions of 1.

    Attributes:
        problem: Name of the problem that they are tested on.
        trained_on: Tasks they were trained on.
        accuracies: Of each seed's agent.
        ends: Uniform strategy and best known.
        random: Mean accuracy of random episodes.
    """

    problem: str
    trained_on: tuple[str, ...]
    accuracies: tuple[float, ...]
    ends: Reference
    random: float


def transfers(problems: Sequence[BenchmarkProblem]) -> list[tuple[BenchmarkProblem, tuple[str, ...]]]:
    """Returns what is tested on which training tasks: on the others of the same environment, and on the task itself."""
    plans = []
    for problem in problems:
        others = tuple(p.task for p in problems if p.env == problem.env and p.task != problem.task)
        if others:
            plans += [(problem, others), (problem, (problem.task,))]
    return plans


def transfer_accuracy(problem: BenchmarkProblem, tasks: Sequence[str], seed: int, episodes: int) -> float:
    """Trains an agent on tasks and returns the accuracy of its deterministic strategy on a problem.

    Args:
        problem: What it is tested on.
        tasks: What it is trained on.
        seed: Of the training.
        episodes: Of the training, at least; rounded up to whole rollouts.
    """
    settings = {**problem.settings, "task": list(tasks), "budget": BUDGETS}
    envs: Any = gym.make_vec(f"compress_gym/{problem.env}", ENVIRONMENTS, autoreset_mode="SameStep", **settings)
    steps = episodes * max(len(build(BenchmarkProblem(problem.env, task)).steps) for task in tasks)
    with one_thread():
        model = PPO("MlpPolicy", CompressionVecEnv(envs), seed=seed, device="cpu", **SETTINGS)
        model.learn(steps)
        return float(policy_strategy(model, make(problem.env, **problem.settings))["accuracy"])


def markdown(found: Sequence[Transfer], episodes: int, seeds: int) -> str:
    """Writes the report: normalised scores, 0 being the uniform strategy and 1 the best known."""
    lines = ["# Trained on some networks, tested on another", ""]
    lines += [f"PPO, {episodes:,} episodes at budgets from {BUDGETS[0]} to {BUDGETS[1]}, {seeds} seeds; interquartile"]
    lines += [
        "means of the deterministic policy's one strategy with 95 % intervals of a bootstrap, normalised: 0 is the"
    ]
    lines += ["uniform strategy, 1 the best known.", ""]
    lines += ["| tested on | trained on | score | mean of random episodes |", "|---|---|---|---|"]
    for transfer in found:
        gap = transfer.ends.best - transfer.ends.uniform
        scores = (np.array(transfer.accuracies)[:, None] - transfer.ends.uniform) / gap
        low, high = bootstrap_interval(scores)
        random = (transfer.random - transfer.ends.uniform) / gap
        cells = (transfer.problem, ", ".join(transfer.trained_on))
        shown = f"{interquartile_mean(scores):.2f} [{low:.2f}, {high:.2f}]"
        lines.append(f"| {' | '.join(cells)} | {shown} | {random:.2f} |")
    return "\n".join([*lines, ""])


@click.command()
@click.option("--seeds", type=click.IntRange(2), default=10, show_default=True)
@click.option("--episodes", type=click.IntRange(1), default=5000, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(seeds: int, episodes: int, out: Path) -> None:
    """Trains agents on every task but one and tests them on that one."""
    plans = [(p, tasks) for p, tasks in transfers(PROBLEMS) if reference(p).normalises]
    found = []
    with Progress() as progress:
        bar = progress.add_task("agents", total=len(plans) * seeds)
        for problem, tasks in plans:
            accuracies = []
            for seed in range(seeds):
                accuracies.append(transfer_accuracy(problem, tasks, seed, episodes))
                progress.advance(bar)
            built = build(problem)
            random = built.accuracy(built.random(np.random.default_rng(0), RANDOM_EPISODES)).mean()
            found.append(Transfer(problem.name, tasks, tuple(accuracies), reference(problem), float(random)))
    text = markdown(found, episodes, seeds)
    command = shlex.join(["python", "-m", "benchmarks.search.generalisation", *sys.argv[1:]])
    facts = {
        "episodes": episodes,
        "rows": [asdict(transfer) for transfer in found],
        **provenance(command, ["stable_baselines3", "torch"]),
    }
    write_atomically(out / "generalisation.md", lambda p: p.write_text(text))
    write_atomically(out / "generalisation.json", lambda p: p.write_text(json.dumps(facts, indent=1) + "\n"))
    click.echo(text)


if __name__ == "__main__":
    run_command(main, "benchmarks.search.generalisation")
