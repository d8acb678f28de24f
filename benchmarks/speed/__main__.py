"""`python -m benchmarks.speed --live | --costs`: how fast live evaluation and cost evaluation are."""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.speed.costs import measure
from benchmarks.speed.live import compare
from compress_gym.cards import provenance, write_atomically
from compress_gym.commands import run_command
from compress_gym.tasks import get_task

RESULTS = Path(__file__).parents[1] / "results" / "speed"


@click.command()
@click.option("--live", is_flag=True, help="Live evaluation against the plain way and AMC's.")
@click.option("--costs", is_flag=True, help="Strategies a second whose costs are evaluated.")
@click.option("--task", "name", default="cifar10-resnet20", show_default=True)
@click.option("--device", help="For --costs: a device profiled for the task [default: the task's].")
@click.option("--images", type=click.IntRange(1), default=5000, show_default=True, help="Validation images to score.")
def main(live: bool, costs: bool, name: str, device: str | None, images: int) -> None:
    """Measures speed; run it alone on the machine. Everything uses one thread."""
    if live == costs:
        raise click.UsageError("say what to measure: --live or --costs")
    torch.set_num_threads(1)
    task = get_task(name)
    if live:
        rows, kind = compare(task, images), "live"
        title = f"Live evaluation of {name}, {images:,} images and {task.calibration_images} for calibration"
    else:
        rows, kind = measure(task, device), "costs"
        title = f"Cost evaluation of {name}"
    command = shlex.join(["python", "-m", "benchmarks.speed", *sys.argv[1:]])
    facts = {"task": name, "rows": rows, **provenance(command, ["torch", "numpy", "numba"])}
    text = "\n".join(
        [
            f"# {title}",
            "",
            f"One thread, {facts['hardware']}, torch {facts['versions']['torch']}.",
            "",
            *_table(rows),
            "",
        ]
    )
    for ending, content in ((".json", json.dumps(facts, indent=1) + "\n"), (".md", text)):
        write_atomically(RESULTS / f"{kind}-{name}{ending}", partial(Path.write_text, data=content))
    click.echo(text)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(c.replace('_', ' ') for c in columns)} |", "|" + "---|" * len(columns)]
    for row in rows:
        values = (row.get(column, "") for column in columns)
        lines.append(f"| {' | '.join(f'{v:,}' if isinstance(v, int) else str(v) for v in values)} |")
    return lines


if __name__ == "__main__":
    run_command(main, "benchmarks.speed")
