"""Puts results into README: `python -m benchmarks.readme runs/demo_1`, and without a folder the benchmark's alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import click

from agents.demo import markdown, speed_note
from benchmarks.search.report import aggregate_table
from compress_gym.cards import read_json, write_atomically
from compress_gym.commands import run_command

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "demo"
# The marker names the suite, so that README can show another one.
SEARCH = re.compile(r"<!-- search table: (\S+\.json) -->.*?<!-- end of search table -->", re.DOTALL)
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


def search_section(path: str) -> str:
    """Returns what README shows of the search benchmark.

    Args:
        path: Of the suite's stored report, below the repository's root.
    """
    facts = read_json(ROOT / path)
    problems = ", ".join(f"`{problem}`" for problem in facts["references"])
    lines = [
        f"<!-- search table: {path} -->",
        *aggregate_table(facts["rows"]),
        "",
        f"{facts['runs']} runs of each method at equal evaluations on {problems}; 0 is the uniform strategy, 1 the "
        f"best known. Interquartile means with 95 % intervals; {facts['processor_hours']:.1f} hours of processor time.",
        *facts["answers"],
        "<!-- end of search table -->",
    ]
    return "\n".join(lines)


def with_sections(readme: str) -> str:
    """Returns README's text with its sections renewed; the benchmark's only where README has its markers."""
    before, rest = readme.split(BEGIN)
    text = before + demo_section() + rest.split(END)[1]
    return SEARCH.sub(lambda found: search_section(found[1]), text)


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True))
def main(folder: Path | None) -> None:
    """Copies table and pictures of the demonstration in FOLDER, if given, and renews README's sections."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    if folder is not None:
        for name in ("results.json", "curve.png", "pareto.png"):
            shutil.copy(folder / name, RESULTS / name)
    path = ROOT / "README.md"
    text = with_sections(path.read_text())
    write_atomically(path, lambda p: p.write_text(text))


if __name__ == "__main__":
    run_command(main, "benchmarks.readme")
