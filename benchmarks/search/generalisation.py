"""A learned policy on problems it never saw, against searching there: `python -m benchmarks.search.generalisation`.

For the split of each kind that has one, PPO is trained over its training problems: budgets, and devices where
there are several, drawn anew for each episode. Its deterministic policy then compresses every held-out problem in an
episode, one evaluation; nothing is learnt or searched there. Beside it stand the uniform strategy, which needs one
evaluation too, and the best of 1, 100 and 400 evaluations of random search and of evolution on that very problem.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from stable_baselines3 import PPO

from agents.commands import make
from agents.learners import policy_strategy
from agents.search import search
from agents.statistics import bootstrap_interval, interquartile_mean
from agents.vec_env import CompressionVecEnv
from compress_gym.kinds import KINDS, TrainTestSplit
from compress_gym.kinds.shared.registry import NAMESPACE
from compress_gym.kinds.shared.splits import HeldOutProblem
from compress_gym.problem import Problem
from compress_gym.support.cards import provenance, write_atomically
from compress_gym.support.commands import run_command
from compress_gym.support.processor import one_thread

RESULTS = Path(__file__).parents[1] / "results" / "search"
ENVIRONMENTS = 16
# Rollouts of so many steps of each environment; plain settings, the same for all.
SETTINGS: dict[str, Any] = {"n_steps": 48, "batch_size": 192, "n_epochs": 10, "gamma": 1.0, "learning_rate": 1e-3}
SEARCHES = ("random", "evolution")
EVALUATIONS = (1, 100, 400)
SPLITS = {kind.id: kind.split for kind in KINDS.values() if kind.split is not None}


@dataclass(frozen=True)
class Comparison:
    """What is reached on a held-out problem, accuracies as fractions of 1.

    Attributes:
        env: Short id of the environment.
        settings: Its task, device and budget.
        unseen: What of it no training episode had.
        uniform: Of the uniform strategy.
        policy: Of each seed's agent, in one episode.
        searches: Of each seed's search, after so many evaluations; by "method evaluations".
        evaluations_to_match: Of random search until its best reaches the agents' interquartile mean: the median over
            seeds; `None` if that is more than the last of `EVALUATIONS`.
    """

    env: str
    settings: Mapping[str, Any]
    unseen: str
    uniform: float
    policy: tuple[float, ...]
    searches: Mapping[str, tuple[float, ...]]
    evaluations_to_match: float | None


def trained(env: str, split: TrainTestSplit, seed: int, episodes: int) -> PPO:
    """Returns an agent that was trained on a split's training problems for at least so many episodes."""
    settings = {**split.train, "reward": "accuracy"}
    envs: Any = gym.make_vec(f"{NAMESPACE}{env}", ENVIRONMENTS, autoreset_mode="SameStep", **settings)
    steps = episodes * max(len(problem.steps) for problem in envs.unwrapped.problems)
    return PPO("MlpPolicy", CompressionVecEnv(envs), seed=seed, device="cpu", **SETTINGS).learn(steps)


def best_so_far(problem: Problem, method: str, seed: int) -> NDArray[np.float64]:
    """Returns a search's best accuracy after each evaluation, `[EVALUATIONS[-1]]`."""
    accuracies = [scored.accuracy for scored in search(problem, method, EVALUATIONS[-1], seed)]
    return np.maximum.accumulate(accuracies)


def evaluations_to_reach(accuracy: float, curves: NDArray[np.float64]) -> float | None:
    """Returns after how many evaluations curves `[seeds, evaluations]` reach an accuracy, in the median over seeds.

    Returns:
        The number, or `None` if the median search does not reach it.
    """
    reached = curves >= accuracy
    needed = float(np.median(np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, np.inf)))
    return needed if np.isfinite(needed) else None


def compare(env: str, held_out: HeldOutProblem, agents: Sequence[PPO]) -> Comparison:
    """Sets agents beside searches on one held-out problem; as many seeds of each."""
    environment = make(env, **held_out.settings, reward="accuracy")
    problem: Problem = environment.unwrapped.problem  # type: ignore[attr-defined]
    policy = tuple(float(policy_strategy(agent, environment)["accuracy"]) for agent in agents)
    curves = {m: np.stack([best_so_far(problem, m, seed) for seed in range(len(agents))]) for m in SEARCHES}
    return Comparison(
        env,
        held_out.settings,
        held_out.unseen,
        float(problem.accuracy(problem.uniform())[0]),
        policy,
        {f"{m} {n}": tuple(curve[:, n - 1].tolist()) for m, curve in curves.items() for n in EVALUATIONS},
        evaluations_to_reach(interquartile_mean(np.array(policy)[:, None]), curves["random"]),
    )


def markdown(found: Sequence[Comparison], episodes: int) -> str:
    """Writes the report."""
    seeds, (one, some, all_) = len(found[0].policy), EVALUATIONS
    columns = [f"{method} {n}" for method in SEARCHES for n in (some, all_)]
    other_networks = dict.fromkeys(f"`{c.env}`" for c in found if "network" in c.unseen)
    lines = ["# A learned policy on problems it never saw", ""]
    lines += [
        f"PPO, trained for {episodes:,} episodes on other problems (each kind's split), then one episode of its",
        "deterministic policy on each of these; the best of so many of random search and evolution",
        f"on the problem. Accuracy: interquartile means of {seeds} seeds, with 95 % intervals of a bootstrap for",
        "the policy. To match: the evaluations that random search needs, in the median, to reach the policy's mean.",
        f"A network is unseen in {' and '.join(other_networks) or 'none'} alone, whose agents were trained on another",
        "one; the others' problems differ from those of training in device and budget.",
        "",
    ]
    lines += [f"| environment | task | device | budget | unseen | policy, 1 | uniform, 1 | random, {one} | "]
    lines[-1] += " | ".join(column.replace(" ", ", ") for column in columns) + " | to match |"
    lines += ["|" + "---|" * (9 + len(columns))]
    for c in found:
        scores = np.array(c.policy)[:, None]
        low, high = bootstrap_interval(scores)
        means = [interquartile_mean(np.array(c.searches[key])[:, None]) for key in (f"random {one}", *columns)]
        needed = c.evaluations_to_match
        cells = [
            c.env,
            *(str(c.settings[key]) for key in ("task", "device", "budget")),
            c.unseen,
            f"{interquartile_mean(scores):.3f} [{low:.3f}, {high:.3f}]",
            f"{c.uniform:.3f}",
            *(f"{mean:.3f}" for mean in means),
            f"> {all_}" if needed is None else f"{needed:g}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


@click.command()
@click.option(
    "--env", "envs", multiple=True, type=click.Choice(sorted(SPLITS)), help="[default: all that have a split]"
)
@click.option("--seeds", type=click.IntRange(2), default=10, show_default=True)
@click.option("--episodes", type=click.IntRange(1), default=5000, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(envs: tuple[str, ...], seeds: int, episodes: int, out: Path) -> None:
    """Trains agents on each split and tests them on what it holds out."""
    found = []
    splits = {env: SPLITS[env] for env in envs or SPLITS}
    with Progress() as progress, one_thread():
        bar = progress.add_task("agents and tests", total=sum(seeds + len(split.tests) for split in splits.values()))
        for env, split in splits.items():
            agents = []
            for seed in range(seeds):
                agents.append(trained(env, split, seed, episodes))
                progress.advance(bar)
            for held_out in split.tests:
                found.append(compare(env, held_out, agents))
                progress.advance(bar)
    command = shlex.join(["python", "-m", "benchmarks.search.generalisation", *sys.argv[1:]])
    facts = {
        "episodes": episodes,
        "processor_hours": round(time.process_time() / 3600, 3),
        "rows": [asdict(comparison) for comparison in found],
        **provenance(command, ["stable_baselines3", "torch"]),
    }
    text = (
        f"{markdown(found, episodes)}\n{facts['processor_hours']:.2f} hours of processor time. Command: `{command}`.\n"
    )
    write_atomically(out / "generalisation.md", lambda p: p.write_text(text))
    write_atomically(out / "generalisation.json", lambda p: p.write_text(json.dumps(facts, indent=1) + "\n"))
    click.echo(text)


if __name__ == "__main__":
    run_command(main, "benchmarks.search.generalisation")
