"""How hard an enumerated task is: `python -m benchmarks.difficulty TASK` writes the card `difficulty.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.progress import track

from agents.search import search
from compress_gym.kinds import get_case
from compress_gym.problem import Problem
from compress_gym.support.cards import provenance, write_atomically
from compress_gym.support.commands import run_command
from compress_gym.tasks import get_task

BUDGETS = (0.4, 0.5, 0.6, 0.7, 0.8)
SEEDS = 20
EVALUATIONS = 300


def difficulty(problem: Problem, searched: bool = True) -> dict[str, Any]:
    """States how large and how hard a problem is.

    Args:
        problem: An enumerated problem.
        searched: Also run random search and hill climbing, `SEEDS` times each.

    Returns:
        Plain data: counts of strategies, accuracies of the optimum and of simple methods.
    """
    strategies, accuracy = problem.enumerate()
    fitting = problem.costs(strategies)[problem.cost] <= problem.cost_limit
    best = accuracy[fitting].max()
    facts = {
        "budget": problem.budget,
        "strategies": len(accuracy),
        "within_budget": int(fitting.sum()),
        "unreachable_under_clip": problem.unreachable(),
        "optimum": float(best),
        "within_one_point_of_the_optimum": int((accuracy[fitting] >= best - 0.01).sum()),
        "uniform": float(problem.accuracy(problem.uniform())[0]),
        "mean_of_random_episodes": round(
            float(problem.accuracy(problem.random(np.random.default_rng(0), 10_000)).mean()), 4
        ),
    }
    if searched:
        for method in ("random", "hill-climb"):
            found = [max(s.accuracy for s in search(problem, method, EVALUATIONS, seed)) for seed in range(SEEDS)]
            facts[f"median_best_of_{EVALUATIONS}_{method}"] = float(np.median(found))
    return facts


@click.command()
@click.argument("task")
@click.option("--out", type=click.Path(path_type=Path), default=Path("."), help="Folder [default: this one].")
def main(task: str, out: Path) -> None:
    """Measures how hard TASK is at several budgets and writes its card."""
    case = get_case(get_task(task).declared.kinds[0], task)
    problem = case.problem(reward="accuracy")
    rows = [difficulty(problem.replace(budget=b)) for b in track(BUDGETS, description=task)]
    card = {
        "what": f"how hard task {task} is with device {problem.origin['device']}, cost {problem.cost}, rule clip",
        "searches": f"median over {SEEDS} seeds of the best of {EVALUATIONS} evaluations",
        "rows": rows,
        **provenance(f"python -m benchmarks.difficulty {task}", ["numpy"]),
    }
    text = json.dumps(card, indent=2) + "\n"
    path = out / "difficulty.json"
    write_atomically(path, lambda p: p.write_text(text))
    click.echo(json.dumps(rows, indent=2))


if __name__ == "__main__":
    run_command(main, "benchmarks.difficulty")
