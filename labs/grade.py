"""`python -m labs.grade FOLDER`: grades the notebooks of a class, each in a process of its own, into a CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console
from rich.progress import Progress

from compress_gym.support.commands import run_command

COLUMNS = ("file", "lab", "points", "possible", "status", "changed", "remarks")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The CSV [default: printed].")
@click.option(
    "--seconds", type=click.FloatRange(1), default=600.0, show_default=True, help="Time limit of each notebook."
)
def cli(folder: Path, out: Path | None, seconds: float) -> None:
    """Grades every notebook in FOLDER and the folders in it; other files are left alone.

    Notebooks are programs of strangers: run this where they can do no harm (see labs/README.md).
    """
    from labs.grading import grade

    notebooks, foreign = found_in(folder)
    if not notebooks:
        raise ValueError(f"FOLDER {folder} holds no notebook (a file ending in .ipynb)")
    console = Console(stderr=True)
    with _open(out) as file, Progress(console=console) as progress:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        bar = progress.add_task("grading", total=len(notebooks))
        for path in notebooks:
            name = path.relative_to(folder).as_posix()
            progress.update(bar, description=f"grading {ascii(path.name)[1:-1]}")
            result = grade(path, seconds)
            row = (name, result.lab, result.points, result.possible, result.status, " ".join(result.changed))
            table.writerow([_plain(cell) for cell in (*row, "; ".join(result.remarks))])
            file.flush()  # interrupted, what was graded is there
            progress.advance(bar)
    left = f"; {len(foreign)} other files left alone, the first: {ascii(foreign[0].name)[1:-1]}" if foreign else ""
    click.echo(f"{len(notebooks)} notebooks graded{left}{f'; written to {out}' if out else ''}", err=True)


def found_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Returns the notebooks of a folder and its folders, and the other files; what is hidden is neither."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return [p for p in files if p.suffix.lower() == ".ipynb"], [p for p in files if p.suffix.lower() != ".ipynb"]


@contextmanager
def _open(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8-sig", newline="") as file:  # spreadsheets know umlauts by the mark
        yield file


def _plain(cell: object) -> object:
    """Keeps spreadsheets from reading a student's text as a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@\t\r") else cell


if __name__ == "__main__":
    run_command(cli, "labs.grade")
