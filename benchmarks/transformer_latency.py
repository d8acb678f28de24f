"""A device of transformers, checked by measuring again: `python -m benchmarks.transformer_latency TASK`.

SubTransformers that the device was not fitted to are timed sentence by sentence, in rounds of random order; the fastest
sentence of all visits counts. Run it alone on the machine that the device describes.
"""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from compress_gym.cards import provenance, write_atomically
from compress_gym.commands import run_command
from compress_gym.devices.timing import agreement
from compress_gym.devices.transformer_latency import (
    TransformerDevice,
    architecture_features,
    latency_errors,
    load_transformer_device,
)
from compress_gym.networks.supertransformer import Transformer, cut_out
from compress_gym.networks.transformer import Architecture
from compress_gym.translation.profile import LENGTHS, Plan, sentence_ms
from compress_gym.translation.tasks import TranslationTask, get_translation_task

RESULTS = Path(__file__).parent / "results" / "latency"


def visits_ms(
    task: TranslationTask, architectures: list[Architecture], rounds: int, repetitions: int, seed: int = 0
) -> NDArray[np.float64]:
    """Times SubTransformers, cut out anew for each visit.

    Args:
        task: The task, whose weights do not matter.
        architectures: What is timed.
        rounds: Visits of each.
        repetitions: Sentences of a visit; the fastest is kept.
        seed: Of the orders.

    Returns:
        Milliseconds, float64 `[lengths, architectures, rounds]`.
    """
    torch.set_num_threads(1)
    module, fastest = Transformer(task.space.largest).eval(), np.empty((len(LENGTHS), len(architectures), rounds))
    for r in track(range(rounds), description="measuring"):
        for n in np.random.default_rng([seed, r]).permutation(len(architectures)):
            own = cut_out(module, architectures[n])
            for m, length in enumerate(LENGTHS.values()):
                fastest[m, n, r] = sentence_ms(own, length, repetitions).min()
    return fastest


def check(
    device: TransformerDevice, architectures: list[Architecture], visits: NDArray[np.float64]
) -> dict[str, dict[str, Any]]:
    """States the device's errors at each length, and how well two halves of the visits agree.

    Args:
        device: What predicts.
        architectures: What was timed.
        visits: From `visits_ms`.
    """
    predicted = device.latency_ms(np.stack([architecture_features(a) for a in architectures]))
    stated = {}
    for m, metric in enumerate(LENGTHS):
        measured = visits[m].min(axis=1)
        # The machine's speed at the time is no error of the order or of ratios, which budgets are.
        speed = float(np.median(predicted[:, m] / measured))
        stated[metric] = {
            **latency_errors(predicted[:, m] / speed, measured),
            "predicted_over_measured": round(speed, 4),
            "two_halves_of_the_visits": agreement(visits[m]),
        }
    return stated


@click.command()
@click.argument("task")
@click.option("--device", default="epyc-torch-fp32", show_default=True, help="A name, or the path of a table.")
@click.option("--rounds", type=click.IntRange(2), default=16, show_default=True)
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
def main(task: str, device: str, rounds: int, repetitions: int) -> None:
    """Measures the transformers of TASK that DEVICE was checked on, again."""
    chosen, shipped = get_translation_task(task), load_transformer_device(device)
    plan = Plan(**shipped.card["plan"])
    architectures = plan.architectures(chosen)[plan.fitted :]
    visits = visits_ms(chosen, architectures, rounds, repetitions)
    command = shlex.join(["python", "-m", "benchmarks.transformer_latency", *sys.argv[1:]])
    facts = {
        "task": task,
        "device": shipped.name,
        "checked_on": f"{len(architectures)} SubTransformers, none of them fitted, measured again",
        "statistic": f"fastest of {rounds * repetitions} sentences in {rounds} visits in random order",
        "stated_error": check(shipped, architectures, visits),
        **provenance(command, ["torch", "numpy"]),
    }
    content = json.dumps(facts, indent=1) + "\n"
    write_atomically(RESULTS / f"{task}-{shipped.name}.json", partial(Path.write_text, data=content))
    click.echo(content)


if __name__ == "__main__":
    run_command(main, "benchmarks.transformer_latency")
