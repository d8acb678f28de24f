"""Exported 8-bit files, run: `python -m benchmarks.exported TASK --device mine8.csv`.

Strategies of channels, all weights and inputs at 8 bits, are compressed, exported and run by ONNX Runtime: the accuracy
of the file beside the evaluator's, its measured latency beside the one that a table of this machine predicts. Run it
alone on the machine, after `compress-gym profile TASK --precision int8 --out mine8.csv`.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import kendalltau

from compress_gym.devices import Hardware, load_device, of_operations
from compress_gym.kinds import Case, get_case
from compress_gym.live.export_quantised import RUN_BITS, export_quantised
from compress_gym.live.session import open_session
from compress_gym.making.profile.onnx_runtime import timed
from compress_gym.making.profile.timing import sample_us
from compress_gym.problem.network_decisions import BitValues
from compress_gym.support.cards import provenance, write_atomically
from compress_gym.support.commands import run_command

RESULTS = Path(__file__).parent / "results" / "exported"
ROUNDS, REPETITIONS = 100, 12
# How far a file's accuracy may be from the evaluator's, as a fraction of 1.
AIM = 0.003


def compare(
    case: Case,
    device: Hardware,
    count: int,
    work: Path,
    seed: int = 0,
    rounds: int = ROUNDS,
    repetitions: int = REPETITIONS,
) -> list[dict[str, Any]]:
    """Exports networks, scores their files and times them, in random order.

    Args:
        case: A task, pruned and quantised.
        device: A table of 8-bit operations of this machine.
        count: How many networks, of all sizes; the uncompressed one is the first.
        work: Folder for the files.
        seed: Of the networks and of the order of visits.
        rounds: Visits of each file.
        repetitions: Timed calls a visit.

    Returns:
        One row a network: channels, both accuracies (fractions of 1, validation images) and both latencies in ms.
    """
    decisions = case.decisions(bits=BitValues((RUN_BITS,)))
    compressor, scored = case.compressor(decisions), case.task.split("validation").take(scored_images(case))
    rows = np.concatenate([decisions.uncompressed[None], decisions.spread(np.random.default_rng(seed), count - 1)])
    predicted = _predicted(case, device, [decisions.describe(row) for row in rows])
    images, labels = scored.images, scored.labels
    files, scores = [], []
    work.mkdir(parents=True, exist_ok=True)
    for n, row in enumerate(track(rows, description="exporting")):
        module = compressor.build(row)
        path = export_quantised(module, case.task.network(), work / f"{n}.onnx", batch=1)
        files.append(path.read_bytes())
        session = open_session(files[-1])
        logits = [session.run(None, {"images": image[None]})[0][0] for image in images]
        with torch.no_grad():
            evaluated = module(torch.from_numpy(images)).argmax(1).numpy()
        scores.append((float((np.argmax(logits, 1) == labels).mean()), float((evaluated == labels).mean())))
    measured = _measure(files, rounds, repetitions, seed)
    return [
        {
            "channels": {k: v for k, v in decisions.describe(row).items() if k.endswith(".channels")},
            "accuracy_of_the_file": scores[n][0],
            "accuracy_of_the_evaluator": scores[n][1],
            "predicted_ms": float(predicted[n]),
            "measured_ms": float(measured[n]),
        }
        for n, row in enumerate(rows)
    ]


def _predicted(case: Case, device: Hardware, strategies: list[dict[str, Any]]) -> NDArray[np.float64]:
    pruned = get_case("ChannelPrune-v0", case.task)
    channels, terms = pruned.decisions(), pruned.cost_terms(device=device)
    rows = np.stack([channels.encode({name: s[name] for name in channels.names}) for s in strategies])
    return terms.evaluate(rows)[:, terms.column("latency_ms")]


def _measure(files: list[bytes], rounds: int, repetitions: int, seed: int) -> NDArray[np.float64]:
    """Returns the latency of each file in ms, timed as the profiler does; each visit opens it anew."""
    rng, fastest = np.random.default_rng([seed, 1]), np.full(len(files), np.inf)
    for _ in track(range(rounds), description="timing"):
        for n in rng.permutation(len(files)).tolist():
            fastest[n] = min(fastest[n], sample_us(timed(open_session(files[n])), repetitions).min())
    return fastest / 1000


def scored_images(case: Case) -> int:
    """Returns how many validation images the accuracies of `compare` are of."""
    return case.task.declared.validation_images or len(case.task.split("validation").labels)


def images_apart(rows: Sequence[Mapping[str, Any]], images: int) -> list[int]:
    """Returns by how many of so many images each file's accuracy differs from the evaluator's."""
    return [round(images * abs(row["accuracy_of_the_file"] - row["accuracy_of_the_evaluator"])) for row in rows]


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """States the errors of predicted latencies and the largest difference of accuracies."""
    predicted, measured = (np.array([row[key] for row in rows]) for key in ("predicted_ms", "measured_ms"))
    relative = np.abs(predicted / measured - 1)
    differences = [abs(row["accuracy_of_the_file"] - row["accuracy_of_the_evaluator"]) for row in rows]
    return {
        "median_absolute_error": float(np.median(relative)),
        "p95_absolute_error": float(np.quantile(relative, 0.95)),
        "kendall_tau": float(kendalltau(predicted, measured).statistic),
        "largest_difference_of_accuracies": max(differences),
    }


def _beside_the_aim(rows: Sequence[Mapping[str, Any]], images: int) -> str:
    """Says what was aimed at and which files miss it; counted in images, which fractions miss by rounding."""
    apart = images_apart(rows, images)
    beyond = sorted(n for n in apart if n > AIM * images)
    one = len(beyond) == 1
    text = (
        f"The aim is that a file's accuracy is the evaluator's within {100 * AIM:.1f} points, {AIM * images:.1f} of "
        f"{images:,} validation images. {len(beyond)} of {len(rows)} files {'misses' if one else 'miss'} it"
    )
    if beyond:
        largest = f"{100 * beyond[-1] / images:.2f} points{'' if one else ' at most'}"
        counts = f"{', '.join(map(str, beyond))} {'image' if beyond == [1] else 'images'}"
        text += f": {'it is' if one else 'they are'} off by {counts} ({largest})"
    within, none = sum(0 < n <= AIM * images for n in apart), apart.count(0)
    return f"{text}. Off by less: {within}; not at all: {none}."


def table(rows: Sequence[Mapping[str, Any]], task: str, device: str, images: int) -> str:
    """Writes the Markdown table.

    Args:
        rows: From `compare`.
        task: Its name.
        device: Its name.
        images: How many images the accuracies are of.
    """
    stated = summary(rows)
    lines = [
        f"# Exported 8-bit files of {task}, run by ONNX Runtime, beside {device}",
        "",
        f"Predicted latency: median error {stated['median_absolute_error']:.1%}, 95th percentile "
        f"{stated['p95_absolute_error']:.1%}, Kendall tau {stated['kendall_tau']:.3f}.",
        "",
        _beside_the_aim(rows, images),
        "",
        "What follows the last convolution reads floats in a file (its inputs are rounded, as the evaluator rounds "
        "them, not its outputs), so that this convolution runs in floats there; the table has it in bytes.",
        "",
        "| channels | accuracy of the file | of the evaluator | predicted, ms | measured, ms |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        numbers = f"{row['accuracy_of_the_file']:.4f} | {row['accuracy_of_the_evaluator']:.4f}"
        channels = ", ".join(map(str, row["channels"].values()))
        lines.append(f"| {channels} | {numbers} | {row['predicted_ms']:.4f} | {row['measured_ms']:.4f} |")
    return "\n".join([*lines, ""])


@click.command()
@click.argument("name", metavar="TASK")
@click.option("--device", required=True, help="Path of this machine's table of 8-bit operations.")
@click.option("--count", type=click.IntRange(2), default=30, show_default=True, help="Networks.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("exported"), show_default=True)
def main(name: str, device: str, count: int, work: Path) -> None:
    """Compares exported 8-bit networks of TASK with what was predicted of them."""
    hardware = of_operations(load_device(device))
    if hardware.bits != (RUN_BITS, RUN_BITS):
        raise ValueError(
            f"--device {device} has operations of {hardware.bits} bits; measure a table with: "
            f"compress-gym profile {name} --precision int8 --out mine8.csv"
        )
    case = get_case("JointPQ-v0", name)
    rows = compare(case, hardware, count, work)
    command = shlex.join(["python", "-m", "benchmarks.exported", *sys.argv[1:]])
    facts = {"task": name, "device": hardware.name, **summary(rows), "rows": rows}
    facts |= provenance(command, ["onnxruntime", "onnx", "torch", "numpy"])
    text = table(rows, name, hardware.name, scored_images(case))
    write_atomically(RESULTS / f"{name}.json", lambda p: p.write_text(json.dumps(facts, indent=1) + "\n"))
    write_atomically(RESULTS / f"{name}.md", lambda p: p.write_text(text))
    click.echo(text)


if __name__ == "__main__":
    run_command(main, "benchmarks.exported")
