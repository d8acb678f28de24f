"""`python -m benchmarks.speed --live`: how fast live evaluation is."""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path

import click
import torch

from benchmarks.speed.live import compare
from compress_gym.cards import provenance, write_atomically
from compress_gym.commands import run_command
from compress_gym.tasks import get_task

RESULTS = Path(__file__).parents[1] / "results" / "speed"


@click.command()
@click.option("--live", is_flag=True, help="Live evaluation against the plain way and AMC's.")
@click.option("--task", "name", default="cifar10-resnet20", show_default=True)
@click.option("--images", type=click.IntRange(1), default=5000, show_default=True, help="Validation images to score.")
def main(live: bool, name: str, images: int) -> None:
    """Measures speed; run it alone on the machine. Every evaluator uses one thread."""
    if not live:
        raise click.UsageError("say what to measure: --live")
    torch.set_num_threads(1)
    rows = compare(get_task(name), images)
    command = shlex.join(["python", "-m", "benchmarks.speed", *sys.argv[1:]])
    facts = {"task": name, "images": images, "rows": rows, **provenance(command, ["torch", "numpy"])}
    lines = [
        f"# Live evaluation of {name}, {images:,} images and {get_task(name).calibration_images} for calibration",
        "",
        f"One thread, {facts['hardware']}, torch {facts['versions']['torch']}.",
        "",
        "| case | evaluator | seconds | images/s | times plain |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(str(value) for value in row.values())} |" for row in rows),
        "",
    ]
    for ending, content in ((".json", json.dumps(facts, indent=1) + "\n"), (".md", "\n".join(lines))):
        write_atomically(RESULTS / f"live-{name}{ending}", partial(Path.write_text, data=content))
    click.echo("\n".join(lines))


if __name__ == "__main__":
    run_command(main, "benchmarks.speed")
