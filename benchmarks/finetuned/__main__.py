"""`python -m benchmarks.finetuned TASK`: which cheap recovery predicts what one ends up with?"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.finetuned.correlation import correlations
from benchmarks.finetuned.measure import PARTS, FinetuningPlan, conditions_of, measure
from compress_gym.kinds import get_case
from compress_gym.support.cards import provenance, write_atomically
from compress_gym.support.commands import run_command
from compress_gym.support.processor import checked_device

RESULTS = Path(__file__).parents[1] / "results" / "finetuned"


@click.command()
@click.argument("name", metavar="TASK")
@click.option("--strategies", type=click.IntRange(10), default=60, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=2, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, one thread each.")
@click.option("--cuda", is_flag=True, help="Fine-tune on the first CUDA device; everything else stays.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder of unfinished pieces [default: TASK-finetuned].")
@click.option("--only", type=click.Choice(PARTS), help="Measure one half; the other can come from another machine.")
def main(
    name: str, strategies: int, epochs: int, workers: int, cuda: bool, work: Path | None, only: str | None
) -> None:
    """Fine-tunes random strategies of TASK at half the MACs and compares. Killed, it goes on where it was."""
    device = checked_device("cuda" if cuda else "cpu")
    case, plan = get_case("ChannelPrune-v0", name), FinetuningPlan(strategies, epochs)
    measured = measure(case, plan, work or Path(f"{name}-finetuned"), workers, device, only)
    if measured is None:
        click.echo("half of it is measured; the same command without --only measures the rest and writes the results")
        return
    images = len(case.task.split("validation").labels)
    facts = {
        "task": name,
        "plan": asdict(plan),
        "validation_images": images,
        "correlations": correlations(measured.correct, images, conditions_of(case, plan)),
        "correct": measured.correct.tolist(),
        "scored_on": measured.scored_on,
        "fine_tuned_on": measured.fine_tuned_on,
        **provenance(shlex.join(["python", "-m", "benchmarks.finetuned", *sys.argv[1:]]), ["torch", "numpy"]),
    }
    write_atomically(RESULTS / f"{name}.json", lambda p: p.write_text(json.dumps(facts) + "\n"))
    write_atomically(RESULTS / f"{name}.md", lambda p: p.write_text(_markdown(facts)))
    click.echo(_markdown(facts))


def _markdown(facts: dict[str, Any]) -> str:
    plan = facts["plan"]
    lines = [
        f"# Before and after fine-tuning: {facts['task']}",
        "",
        f"{plan['strategies']} random strategies at {plan['budget']:.0%} of the MACs, each fine-tuned for "
        f"{plan['epochs']} epochs. Kendall's tau between the accuracy of each recovery on one half of the "
        f"{facts['validation_images']:,} validation images and the fine-tuned accuracy on the other half (mean of both "
        "ways round; 95 % interval by bootstrap over strategies). The last row is fine-tuned accuracy against itself: "
        "what the number of images allows.",
        "",
        f"Fine-tuned on {' and '.join(facts['fine_tuned_on'])}; scored before on {' and '.join(facts['scored_on'])}.",
        "",
        "| recovery | mean accuracy | Kendall tau | 95 % interval | Pearson r |",
        "|---|---|---|---|---|",
        *(
            f"| {r['recovery']} | {100 * r['mean_accuracy']:.1f} | {r['kendall_tau']:.2f} | "
            f"{r['interval'][0]:.2f} to {r['interval'][1]:.2f} | {r['pearson']:.2f} |"
            for r in facts["correlations"]
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, "benchmarks.finetuned")
