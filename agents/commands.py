"""What the commands of the zoo share: options, and errors told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import gymnasium as gym

import compress_gym
from compress_gym.problem.rewards import REWARDS


def environment_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that choose the environment."""
    options = [
        click.option("--env", default="ChannelPrune-v0", show_default=True, help="Environment id."),
        click.option("--task", default="digits-cnn", show_default=True, help="compress-gym tasks lists them."),
        click.option("--device", default="auto", show_default=True, help="Name, or path of a table."),
        click.option("--cost", help="Which cost is bounded [default: the latency; macs where the task has no device]."),
        click.option("--budget", default=0.5, show_default=True, help="Fraction of the uncompressed cost."),
        click.option("--budget-rule", default="clip", show_default=True, help="clip, repair or none."),
        click.option("--reward", default="accuracy", show_default=True, help=", ".join(sorted(REWARDS))),
        click.option("--accuracy", default="auto", show_default=True, help="auto, measured or live."),
        click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True),
        click.option("--out", type=click.Path(path_type=Path), help="Run folder [default: a new one under runs/]."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def with_cost(env: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns an environment's settings with the cost that it bounds, where none was named: a run says which it was."""
    if settings["cost"] is not None:
        return settings
    base: Any = make(env, **{name: value for name, value in settings.items() if name != "cost"}).unwrapped
    return {**settings, "cost": base.problem.cost}


def make(env: str, **settings: Any) -> gym.Env:
    """Builds an environment by its short id (`ChannelPrune-v0`) or its full one.

    Run folders of other people name environments, so the id must be registered: Gymnasium would import the module of
    `module:Env`.

    Raises:
        ValueError: No environment is registered under that id.
    """
    name = env if "/" in env else f"{compress_gym.__name__}/{env}"
    if ":" in name:
        raise ValueError(f"env={env!r} names a module; legal are registered ids such as 'ChannelPrune-v0'")
    try:
        return gym.make(name, **settings)
    except gym.error.UnregisteredEnv as error:
        raise ValueError(f"env={env!r}: {error}") from error
