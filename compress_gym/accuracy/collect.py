"""Scores every strategy of a task live, in parallel, in shards: killed at any moment, it goes on where it was."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from compress_gym.accuracy.live import LiveAccuracy
from compress_gym.accuracy.measured import save
from compress_gym.cards import provenance, sha256, write_card
from compress_gym.decisions import ENUMERABLE
from compress_gym.resume import claim, end_with_parent, load_arrays, save_array
from compress_gym.tasks import Task

SHARD = 128
_evaluator: LiveAccuracy | None = None


def collect(task: Task, out: Path, workers: int, command: str) -> Path:
    """Measures the task's whole strategy space and writes `measured.npz` with its card.

    Args:
        task: The task.
        out: Folder for the result; finished shards wait in `out/shards` until all are there.
        workers: Processes, one thread each.
        command: The command line, for the card.

    Returns:
        Path of the table.

    Raises:
        ValueError: The space is too large to enumerate, or the shards there belong to another measurement.
    """
    decisions = task.channel_decisions()
    if decisions.count > ENUMERABLE:
        raise ValueError(f"task={task.name!r} has {decisions.count} strategies; at most {ENUMERABLE} are enumerated")
    evaluator = task.live()
    shards = out / "shards"
    claim(shards, {**_identity(task, evaluator), **_environment()})
    starts = range(0, decisions.count, SHARD)
    pieces = [(start, min(start + SHARD, decisions.count)) for start in starts]
    missing = [piece for piece in pieces if not _shard(shards, piece[0]).exists()]
    done = decisions.count - sum(stop - start for start, stop in missing)
    started = time.perf_counter()
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress("strategies", *columns) as progress:
        bar = progress.add_task("", total=decisions.count, completed=done)
        # Spawned, not forked: torch's thread pools do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _start_worker, (task,)) as pool:
            for start, correct in pool.map(_score_shard, missing):
                save_array(_shard(shards, start), correct)
                progress.advance(bar, len(correct))
    seconds = time.perf_counter() - started
    correct = load_arrays([_shard(shards, s) for s in starts], axis=0)
    table = out / "measured.npz"
    save(table, decisions, correct, evaluator.images, round(evaluator.baseline * evaluator.images))
    card = {
        "what": f"live validation accuracy of every strategy of task {task.name}",
        "strategies": decisions.count,
        **_identity(task, evaluator),
        "precision": "fp32, one thread",
        "statistic": "correctly classified validation images; each strategy scored once (the score is deterministic)",
        "stated_error": {
            "same_machine": "0 images",
            "other_machine": "2 images are allowed by the test",
            "sampling": "standard error of an accuracy a is sqrt(a(1-a)/images)",
        },
        "seconds_of_last_run": round(seconds, 1),
        **provenance(command, ["torch", "numpy"]),
    }
    write_card(table, card)
    shutil.rmtree(shards)
    return table


def _identity(task: Task, evaluator: LiveAccuracy) -> dict[str, Any]:
    """What a score depends on: shards of another identity are never mixed in."""
    return {
        "task": task.name,
        "task_version": task.version,
        "weights_sha256": sha256(task.folder / "weights.safetensors"),
        "recovery": evaluator.recovery,
        "calibration_images": task.calibration_images,
        "calibration_digest": evaluator.calibration_digest,
        "validation_images": evaluator.images,
    }


def _environment() -> dict[str, Any]:
    """What scores may depend on besides: shards of two machines or versions make no table."""
    made = provenance("", ["torch", "numpy"])
    return {"hardware": made["hardware"], "versions": made["versions"]}


def _shard(shards: Path, start: int) -> Path:
    return shards / f"{start:06d}.npy"


def _start_worker(task: Task) -> None:
    global _evaluator
    end_with_parent()
    import torch

    torch.set_num_threads(1)
    _evaluator = task.live()


def _score_shard(piece: tuple[int, int]) -> tuple[int, np.ndarray]:
    assert _evaluator is not None
    return piece[0], _evaluator.count_correct(_evaluator.decisions.enumerate(*piece))
