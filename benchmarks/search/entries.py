"""Describes the standard suite's runs as entries of the leaderboard: `python -m benchmarks.search.entries`.

It writes `entries.json` beside the runs, with every method on every problem of the suite.
`python -m leaderboard submit-all runs/benchmark/entries.json` makes the entries of it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from agents.tune import SPACES
from benchmarks.search.jobs import Job, is_finished, jobs_of
from benchmarks.search.suites import LEARNERS, SUITES, BenchmarkProblem
from compress_gym.support.cards import write_atomically
from compress_gym.support.commands import run_command
from compress_gym.support.errors import unknown_name

AUTHORS = ("the compress_gym authors",)
# Where the code of methods that are not ours comes from.
LINKS = {
    **dict.fromkeys(LEARNERS, "https://github.com/DLR-RM/stable-baselines3"),
    "maskable-ppo": "https://github.com/Stable-Baselines-Team/stable-baselines3-contrib",
    **dict.fromkeys(("tpe", "gaussian-process"), "https://github.com/optuna/optuna"),
    "cma-es": "https://github.com/CyberAgentAILab/cmaes",
}
# What `agents.tune` has looked for better settings of.
TUNED = ("ddpg", "td3", "ppo")
# The seed has no influence on these.
DETERMINISTIC = ("uniform", "shallow-heavy", "deep-heavy", "netadapt", "integer-program")


def described(jobs: Sequence[Job], runs: Path) -> list[dict[str, Any]]:
    """Returns what `leaderboard.submit` is to know of each method on each problem.

    Raises:
        ValueError: A run is missing or outdated; the message names the command that makes it.
    """
    groups: dict[tuple[BenchmarkProblem, str], list[Job]] = {}
    for job in jobs:
        if not is_finished(job, runs):
            raise ValueError(
                f"{runs / job.name} is missing or outdated; run: python -m benchmarks.search --suite standard"
            )
        groups.setdefault((job.problem, job.method), []).append(job)
    return [
        {
            "name": method,
            "runs": [job.name for job in group],
            "authors": AUTHORS,
            "link": LINKS.get(method),
            "modified_source": False,
            "deterministic": method in DETERMINISTIC,
            "trained_on": (),
            "ranges_tried": {name: where.words for name, where in SPACES[method].items()} if method in TUNED else {},
        }
        for (_, method), group in groups.items()
    ]


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/benchmark"), show_default=True)
@click.option("--method", "methods", multiple=True, help="Only this one; may be repeated.")
def main(runs: Path, methods: tuple[str, ...]) -> None:
    """Describes the standard suite's runs as entries of the leaderboard."""
    for method in methods:
        if method not in SUITES["standard"].methods:
            raise unknown_name("method", method, SUITES["standard"].methods)
    jobs = [job for job in jobs_of(SUITES["standard"]) if not methods or job.method in methods]
    text = json.dumps({"entries": described(jobs, runs)}, indent=1) + "\n"
    path = runs / "entries.json"
    write_atomically(path, lambda p: p.write_text(text))
    click.echo(f"written to {path}; make the entries with: python -m leaderboard submit-all {shlex.quote(str(path))}")


if __name__ == "__main__":
    run_command(main, "benchmarks.search.entries")
