"""Replays a trained agent: `python -m agents.predict RUN_FOLDER` prints the strategy its policy chooses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from agents.commands import make
from agents.learners import build, load_policy, policy_strategy
from agents.runs import read_config
from compress_gym.commands import run_command

SHOWN = ("strategy", "accuracy", "cost_ratio", "feasible", "accuracy_source")


def replay(folder: Path) -> dict[str, Any]:
    """Loads the agent of a run folder, plays one deterministic episode and returns its outcome.

    Raises:
        ValueError: The folder holds no run, a search's, or one that was made with other assets.
    """
    config = read_config(folder)
    if config["kind"] != "learner":
        raise ValueError(f"{folder} holds a run of {config['method']!r}, which is a search and has no policy")
    env = make(config["env"], **config["environment"])
    _, info = env.reset()
    if info["asset_hash"] != config["origin"]["asset_hash"]:
        raise ValueError(f"{folder} was trained on other assets of task {info['task']!r}; train it again")
    model = build(config["method"], env, config["hyperparameters"], config["seed"])
    load_policy(model, folder / "policy.safetensors")
    last = policy_strategy(model, env)
    return {key: last[key] for key in SHOWN}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Loads the agent of a run FOLDER, plays one deterministic episode and prints its outcome as JSON."""
    click.echo(json.dumps(replay(folder), indent=2))


if __name__ == "__main__":
    run_command(main, "agents.predict")
