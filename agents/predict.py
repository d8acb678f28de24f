"""Plays a trained agent: `python -m agents.predict RUN_FOLDER` prints the strategy its policy chooses.

With `--task`, `--device` or `--budget` it plays where it was not trained; `--out` keeps that as a run folder of one
evaluation.
"""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import gymnasium as gym

from agents.commands import make
from agents.learners import build, load_policy, policy_strategy
from agents.runs import Run, Scored, read_config, run_config
from compress_gym.support.commands import run_command

SHOWN = ("strategy", "accuracy", "cost_ratio", "feasible", "accuracy_source")


def replay(folder: Path, changes: Mapping[str, Any] | None = None, out: Path | None = None) -> dict[str, Any]:
    """Loads the agent of a run folder, plays one deterministic episode and returns its outcome.

    Args:
        folder: The run folder.
        changes: Arguments of the environment that differ from those of the training: `task`, `device`, `budget`.
        out: Where to write a run folder of this one evaluation.

    Raises:
        ValueError: The folder holds no run, a search's, or one that was made with other assets.
    """
    config = read_config(folder)
    if config["kind"] != "learner":
        raise ValueError(f"{folder} holds a run of {config['method']!r}, which is a search and has no policy")
    if not isinstance(config.get("hyperparameters"), dict):
        raise ValueError(f"{folder / 'config.yml'}: lacks hyperparameters; the agent cannot be built again")
    trained_on = _environment(folder, config)
    _, info = trained_on.reset()
    for key, words in (
        ("task_version", "an earlier version"),
        ("asset_hash", "other assets"),
        ("device_hash", "other latencies"),
    ):
        if info.get(key) != config["origin"].get(key):
            raise ValueError(f"{folder} was trained on {words} of task {info['task']!r}; train it again")
    model = build(config["method"], trained_on, config["hyperparameters"], config["seed"])
    load_policy(model, folder / "policy.safetensors")
    settings = {**config["environment"], **(changes or {})}
    env = make(config["env"], **settings)
    last = policy_strategy(model, env)
    if out is not None:
        played = run_config("learner", config["method"], config["env"], settings, env, config["seed"], 1)
        played["hyperparameters"] = config["hyperparameters"]
        training = folder / "command.txt"  # shipped agents come without it
        commands = [training.read_text().strip()] if training.exists() else []
        played["command"] = " && ".join([*commands, shlex.join(["python", "-m", "agents.predict", *sys.argv[1:]])])
        if (scored := folder / "evaluations.csv").exists():
            with scored.open(newline="") as file:
                played["training_seconds"] = float(list(csv.DictReader(file))[-1]["seconds"])
        with Run(out, played) as run:
            run.add(Scored.from_info(last, env.unwrapped.problem))  # type: ignore[attr-defined]
    return {key: last[key] for key in SHOWN}


def _environment(folder: Path, config: Mapping[str, Any]) -> gym.Env:
    try:
        return make(config["env"], **config["environment"])
    except TypeError as error:  # an argument that another version has
        raise ValueError(f"{folder / 'config.yml'}: the environment cannot be built again: {error}") from error


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--task", help="Compress another one than it was trained on; compress-gym tasks lists them.")
@click.option("--device", help="Another device: a name, or the path of a table; auto is the task's own.")
@click.option("--budget", type=float, help="Another fraction of the uncompressed cost.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a run folder of this one evaluation.")
def main(folder: Path, out: Path | None, **changes: Any) -> None:
    """Loads the agent of a run FOLDER, plays one deterministic episode and prints its outcome as JSON."""
    given = {name: value for name, value in changes.items() if value is not None}
    if "task" in given:  # the device of the training was that task's
        given = {"device": "auto", **given}
    click.echo(json.dumps(replay(folder, given, out), indent=2))


if __name__ == "__main__":
    run_command(main, "agents.predict")
