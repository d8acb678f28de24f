"""Searches without learning: `python -m agents.search --method evolution --evaluations 300`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from agents.commands import environment_options, make, with_cost
from agents.runs import Run, default_folder, run_config
from agents.search import METHODS, search
from compress_gym.support.commands import run_command
from compress_gym.support.errors import unknown_name


def run_search(method: str, env_id: str, settings: dict[str, Any], evaluations: int, seed: int, folder: Path) -> Run:
    """Runs a search into a run folder; the arguments are those of `agents.train.run_training`."""
    env = make(env_id, **settings)
    config = run_config("search", method, env_id, settings, env, seed, evaluations)
    problem = env.unwrapped.problem  # type: ignore[attr-defined]
    with Run(folder, config) as run, Progress() as progress:
        bar = progress.add_task(f"searching {method}", total=evaluations)
        for scored in search(problem, method, evaluations, seed):
            run.add(scored)
            progress.advance(bar)
        progress.update(bar, total=len(run.scored))  # a method may end before its allowance
    return run


@click.command()
@click.option("--method", required=True, help=", ".join(sorted(METHODS)))
@click.option("--evaluations", type=click.IntRange(1), default=300, show_default=True)
@environment_options
def main(method: str, evaluations: int, env: str, seed: int, out: Path | None, **settings: Any) -> None:
    """Searches and writes a run folder."""
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    settings = with_cost(env, settings)
    folder = out or default_folder(method, env, settings["task"], seed)
    run = run_search(method, env, settings, evaluations, seed, folder)
    if run.best is not None:
        click.echo(
            f"best of {len(run.scored)} evaluations: accuracy {run.best.accuracy:.4f} at "
            f"{run.best.cost_ratio:.3f} of the {settings['cost']}: {dict(run.best.strategy)}"
        )
    click.echo(f"run folder: {folder}")


if __name__ == "__main__":
    run_command(main, "agents.search")
