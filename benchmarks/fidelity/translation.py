"""What searches make of the surrogates' errors on transformers: `python -m benchmarks.fidelity.translation TASK`.

The best that each search finds by predicted BLEU is translated with live, and its loss computed; neither searches nor
seeds had a part in making the surrogates.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.progress import track

from benchmarks.fidelity.exploitation import found_by_search, gap
from benchmarks.fidelity.front import front_order
from compress_gym.devices.costs.transformer import transformer_cost_terms
from compress_gym.kinds.transformer_nas import transformer_nas_problem
from compress_gym.making.collect_translation import held_out
from compress_gym.support.cards import provenance, read_card, write_atomically
from compress_gym.support.commands import run_command
from compress_gym.tasks.translation import get_translation_task

RESULTS = Path(__file__).parents[1] / "results" / "fidelity"
METHODS = ("hill-climb", "evolution")
BUDGETS = (0.4, 0.6, 0.8)


def exploitation(task: str, device: str | None, cost: str, seeds: int) -> dict[str, Any]:
    """Returns the exploitation gaps of BLEU / 100 and of the loss, which is negated so that more is better.

    Args:
        task: Name of the task.
        device: Of the problem.
        cost: What is bounded.
        seeds: Runs of each search at each budget.
    """
    chosen = get_translation_task(task)
    live, rows = chosen.live(), []
    for budget in BUDGETS:
        problem = transformer_nas_problem(
            task, device, accuracy="surrogate", cost=cost, budget=budget, reward="accuracy"
        )
        for method in METHODS:
            rows.append(found_by_search(problem, method, range(1000, 1000 + seeds)))
    strategies = np.unique(np.concatenate(rows), axis=0)
    scored = [(live(row)[0], live.valid_loss(row)[0]) for row in track(strategies, description="scoring live")]
    accuracy, loss = np.array(scored).T
    return {
        "searches": list(METHODS),
        "budgets": list(BUDGETS),
        "seeds": seeds,
        "accuracy": gap(chosen.surrogate()(strategies), accuracy),
        "negated_loss": gap(-chosen.loss_surrogate().valid_loss(strategies), -loss),
    }


def near_the_front(task: str) -> list[dict[str, Any]]:
    """Returns the order among the best of what the surrogate of BLEU was not fitted to, in tenths of the MACs."""
    chosen = get_translation_task(task)
    scored, terms = chosen.strategies(), transformer_cost_terms(chosen.space, chosen.decisions())
    held, _ = held_out(int(scored.translated.sum()), read_card(chosen.folder / "strategies.npz")["seed"])
    rows, live = scored.strategies[scored.translated][held], scored.accuracy[held]
    macs = terms.evaluate(np.concatenate([rows, chosen.decisions().uncompressed[None]]))[:, terms.column("macs")]
    return front_order(chosen.surrogate()(rows), live, None, macs[:-1] / macs[-1])


@click.command()
@click.argument("task")
@click.option("--device", default="auto", show_default=True, help="A name, or the path of a latency table.")
@click.option("--cost", default="latency_ms", show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Runs of each search and budget.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="Folder [default: benchmarks/results].")
def main(task: str, device: str, cost: str, seeds: int, out: Path) -> None:
    """Scores what searches find by TASK's surrogates."""
    torch.set_num_threads(1)
    command = shlex.join(["python", "-m", "benchmarks.fidelity.translation", *sys.argv[1:]])
    facts = {"task": task, "front": near_the_front(task)}
    facts |= exploitation(task, None if device == "none" else device, cost, seeds)
    facts |= provenance(command, ["torch", "numpy", "sacrebleu"])
    write_atomically(out / f"{task}.json", lambda p: p.write_text(json.dumps(facts, indent=1) + "\n"))
    for name in ("accuracy", "negated_loss"):
        click.echo(f"{name}: {facts[name]}")


if __name__ == "__main__":
    run_command(main, "benchmarks.fidelity.translation")
