"""Trains a Stable-Baselines3 agent: `python -m agents.train --algo ddpg --episodes 300`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from agents.commands import environment_options, make, with_cost
from agents.hyperparams import override, read_hyperparameters
from agents.learners import ALGORITHMS, action_type, build, policy_strategy, save_policy, train
from agents.runs import Run, default_folder, run_config
from compress_gym.support.commands import run_command


def run_training(
    algorithm: str,
    env_id: str,
    settings: dict[str, Any],
    episodes: int,
    seed: int,
    folder: Path,
    hyperparameters: dict[str, Any],
) -> tuple[Run, dict[str, Any]]:
    """Trains an agent into a run folder.

    Args:
        algorithm: A name of `agents.learners.ALGORITHMS`.
        env_id: Environment id.
        settings: Arguments of the environment; the algorithm's `action_type` is added.
        episodes: Scored episodes.
        seed: Of everything random.
        folder: The run folder; must not hold a run.
        hyperparameters: See `agents/hyperparams/`.

    Returns:
        The run, and the last info of the final deterministic policy's episode (its strategy is not counted as
        an evaluation).
    """
    settings = {**settings, "action_type": action_type(algorithm)}
    env = make(env_id, **settings)
    config = run_config("learner", algorithm, env_id, settings, env, seed, episodes)
    config["hyperparameters"] = hyperparameters
    model = build(algorithm, env, hyperparameters, seed, logs=folder / "tensorboard")
    with Run(folder, config) as run:
        try:
            train(model, run, episodes)
        finally:
            save_policy(model, folder / "policy.safetensors")
    return run, policy_strategy(model, env)


@click.command()
@click.option("--algo", required=True, help=", ".join(sorted(ALGORITHMS)))
@click.option("--episodes", type=click.IntRange(1), default=300, show_default=True)
@click.option("--hyperparameter", "-p", multiple=True, metavar="NAME=VALUE", help="Overrides one of the YAML file.")
@environment_options
def main(
    algo: str, episodes: int, hyperparameter: tuple[str, ...], env: str, seed: int, out: Path | None, **settings: Any
) -> None:
    """Trains an agent and writes a run folder."""
    hyperparameters = override(read_hyperparameters(algo, env), hyperparameter)
    settings = with_cost(env, settings)
    folder = out or default_folder(algo, env, settings["task"], seed)
    run, final = run_training(algo, env, settings, episodes, seed, folder, hyperparameters)
    if run.best is not None:
        click.echo(
            f"best of {len(run.scored)} episodes: accuracy {run.best.accuracy:.4f} at {run.best.cost_ratio:.3f} "
            f"of the {settings['cost']}: {dict(run.best.strategy)}"
        )
    click.echo(
        f"final policy: accuracy {final['accuracy']:.4f} at {final['cost_ratio']:.3f}: {final['strategy']}\n"
        f"run folder: {folder}"
    )


if __name__ == "__main__":
    run_command(main, "agents.train")
