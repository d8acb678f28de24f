"""What equal bits everywhere cost a network: `python -m benchmarks.quantised TASK`.

Weights and activations of all layers whose bits can be chosen have the same bits, the others 8. Accuracies before and
after fine-tuning with straight-through gradients stand beside those of the network as it was trained, and of the same
network after recovery, which changes it a little without any rounding. Nothing is chosen by them, so test images may
be looked at.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from benchmarks.papers import winners
from benchmarks.papers.live_scores import PaperScores
from compress_gym.kinds import get_case
from compress_gym.live.quantise import BITS as QUANTISER_BITS
from compress_gym.problem.network_decisions import BitValues
from compress_gym.support.cards import provenance, write_atomically
from compress_gym.support.commands import run_command
from compress_gym.tasks import Task, get_task

RESULTS = Path(__file__).parent / "results" / "quantised"
BITS = (8, 6, 5, 4)
SPLITS = ("validation", "test")


def compare(task: Task, bits: tuple[int, ...], epochs: int, work: Path) -> dict[str, Any]:
    """Scores a network at equal bits.

    Args:
        task: The task.
        bits: Of weights and activations.
        epochs: Of fine-tuning; 0: none.
        work: Folder that keeps finished scores.

    Returns:
        Accuracies, fractions of 1: `as_trained`, and `rows`, one for each number of bits, the network in full
        precision (32) first, before fine-tuning and, of the others, that on test images after it.
    """
    pruned, quantised = get_case("ChannelPrune-v0", task), get_case("MixedQuant-v0", task)
    whole = pruned.decisions()
    unpruned = whole.describe(whole.uncompressed)
    as_trained = {split: float(pruned.scorer(recovery="none", split=split).baseline) for split in SPLITS}
    floats = PaperScores(pruned, whole, work / "floats")
    rows: list[dict[str, Any]] = [{"bits": 32, "before": {split: floats(unpruned, split) for split in SPLITS}}]
    # Scores are kept by places among all values, whichever of them are asked for.
    decisions = quantised.decisions(bits=BitValues(tuple(QUANTISER_BITS)))
    scores = PaperScores(quantised, decisions, work / "bits")
    for chosen in bits:
        strategy = {d.name: chosen if chosen in d.numbers else d.numbers[-1] for d in decisions.decisions}
        before = {split: scores(strategy, split) for split in SPLITS}
        after = {"after": {"test": scores(strategy, "test", epochs)}} if epochs else {}
        rows.append({"bits": chosen, "before": before, **after})
    return {"as_trained": as_trained, "rows": rows}


def report(name: str, epochs: int, facts: dict[str, Any]) -> str:
    """Writes the Markdown report."""
    whole = facts["as_trained"]
    tuned = f" and after {winners.epochs(epochs)}" if epochs else ""
    lines = [
        f"# {name} with equal bits everywhere",
        "",
        "Weights and activations of all layers whose bits can be chosen; the others have 8. Points lost against the",
        f"network as it was trained ({100 * whole['validation']:.2f} % of validation images,",
        f"{100 * whole['test']:.2f} % of test images) before fine-tuning{tuned}. With 32 bits nothing is rounded: that",
        "row is what recovery alone changes.",
        "",
        "| bits | validation, before | test, before | test, after |",
        "|---|---|---|---|",
    ]
    for row in facts["rows"]:
        pairs = [("before", "validation"), ("before", "test"), ("after", "test")]
        lost = [f"{100 * (whole[split] - row[when][split]):.2f}" if when in row else "" for when, split in pairs]
        lines.append(f"| {row['bits']} | {' | '.join(lost)} |")
    return "\n".join([*lines, ""])


@click.command()
@click.argument("name", metavar="TASK")
@click.option("--bits", type=click.IntRange(2, 8), multiple=True, default=BITS, show_default=True)
@click.option("--epochs", type=click.IntRange(0), default=1, show_default=True, help="Of fine-tuning; 0: none.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder of finished scores [default: TASK-quantised].")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="benchmarks/results/quantised")
def main(name: str, bits: tuple[int, ...], epochs: int, work: Path | None, out: Path) -> None:
    """Scores TASK's network at equal bits, before and after fine-tuning."""
    found = compare(get_task(name), bits, epochs, work or Path(f"{name}-quantised"))
    command = shlex.join(["python", "-m", "benchmarks.quantised", *sys.argv[1:]])
    facts = {"task": name, "epochs": epochs, **found, **provenance(command, ["numpy", "torch"])}
    text = report(name, epochs, facts)
    write_atomically(out / f"{name}.json", lambda p: p.write_text(json.dumps(facts, indent=1) + "\n"))
    write_atomically(out / f"{name}.md", lambda p: p.write_text(text))
    click.echo(text)


if __name__ == "__main__":
    run_command(main, "benchmarks.quantised")
