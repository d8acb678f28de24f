"""Ships the agent of a run folder: `python -m agents.trained runs/ChannelPrune-v0/digits-cnn/ppo_0`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from agents.predict import replay
from agents.runs import read_config
from compress_gym.support.cards import write_atomically
from compress_gym.support.commands import run_command

FOLDER = Path(__file__).parent
FILES = ("config.yml", "policy.safetensors", "policy.npz")


def ship(run: Path, folder: Path) -> Path:
    """Copies what is needed to replay a run's agent, and writes what the replay must give.

    Args:
        run: A learner's run folder.
        folder: Where trained agents lie.

    Returns:
        The agent's folder, `<task>-<algorithm>`.
    """
    config, expected = read_config(run), replay(run)
    place = folder / f"{config['environment']['task']}-{config['method']}"
    place.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (run / name).exists():
            shutil.copy(run / name, place / name)
        else:
            (place / name).unlink(missing_ok=True)
    text = json.dumps(expected, indent=1) + "\n"
    write_atomically(place / "expected.json", lambda p: p.write_text(text))
    return place


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(runs: tuple[Path, ...]) -> None:
    """Adds the agents of run folders RUNS to the shipped ones; an older one of the same name is replaced."""
    for run in runs:
        click.echo(ship(run, FOLDER))


if __name__ == "__main__":
    run_command(main, "agents.trained")
