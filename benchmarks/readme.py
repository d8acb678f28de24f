"""Puts a demonstration's results into README: `python -m benchmarks.readme runs/demo_1`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from agents.demo import markdown, speed_note
from compress_gym.cards import write_atomically
from compress_gym.commands import run_command

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "demo"
BEGIN, END = "<!-- demo table: benchmarks/results/demo/results.json -->", "<!-- end of demo table -->"


def demo_section() -> str:
    """Returns what README shows between its markers, from the stored results."""
    results = json.loads((RESULTS / "results.json").read_text())
    seconds, evaluations = results["total_seconds"], results["evaluations"]
    methods = [row for row in results["rows"] if row["regret_points"] is not None]
    order = ", ".join(
        f"{row['method']} {row['validation_accuracy']:.4f}" for row in sorted(methods, key=lambda r: r["regret_points"])
    )
    return (
        f"{BEGIN}\n{markdown(results)}\n"
        f"From best to worst in this run: {order}.\n"
        f"One seed of each, {evaluations} evaluations, {seconds:.0f} s in all. Predicted with the table of "
        f"`{results['predicted_on']}`, measured on {results['measured_on']}.\n"
        f"{speed_note(results)}\n{END}"
    )


def with_section(readme: str) -> str:
    """Returns README's text with the section renewed."""
    before, rest = readme.split(BEGIN)
    return before + demo_section() + rest.split(END)[1]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def main(folder: Path) -> None:
    """Copies table and pictures of the demonstration in FOLDER and renews README's section."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in ("results.json", "curve.png", "pareto.png"):
        shutil.copy(folder / name, RESULTS / name)
    path = ROOT / "README.md"
    text = with_section(path.read_text())
    write_atomically(path, lambda p: p.write_text(text))


if __name__ == "__main__":
    run_command(main, "benchmarks.readme")
