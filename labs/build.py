"""`python -m labs.build`: writes the student's and the teacher's notebooks of all labs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from compress_gym.support.cards import write_atomically
from compress_gym.support.commands import run_command


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path(__file__).parent, help="[default: labs]"
)
def cli(out: Path) -> None:
    """Writes student/LAB.ipynb and teacher/LAB.ipynb of every source in labs/sources."""
    from labs.notebooks import VERSIONS, all_labs

    for lab in all_labs().values():
        for version in VERSIONS:
            path = out / version / f"{lab.name}.ipynb"
            write_atomically(path, partial(Path.write_text, data=lab.text(version), encoding="utf-8"))
            click.echo(f"written to {path}")


if __name__ == "__main__":
    run_command(cli, "labs.build")
