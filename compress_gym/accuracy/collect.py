"""Scores every strategy of a task live, in parallel, in shards: killed at any moment, it goes on where it was."""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from compress_gym.accuracy.live import LiveAccuracy
from compress_gym.accuracy.measured import save
from compress_gym.cards import provenance, read_json, sha256, write_atomically, write_card
from compress_gym.tasks import get_task

SHARD = 128
ENUMERABLE = 200_000
_evaluator: LiveAccuracy | None = None


def collect(task_name: str, out: Path, workers: int, command: str) -> Path:
    """Measures the task's whole strategy space and writes `measured.npz` with its card.

    Args:
        task_name: Name of the task.
        out: Folder for the result; finished shards wait in `out/shards` until all are there.
        workers: Processes, one thread each.
        command: The command line, for the card.

    Returns:
        Path of the table.

    Raises:
        ValueError: The space is too large to enumerate, or the shards there belong to another measurement.
    """
    task = get_task(task_name)
    decisions = task.channel_decisions()
    if decisions.count > ENUMERABLE:
        raise ValueError(f"task={task_name!r} has {decisions.count} strategies; at most {ENUMERABLE} are enumerated")
    evaluator = task.live()
    shards = out / "shards"
    _claim(shards, _identity(task_name, evaluator))
    starts = range(0, decisions.count, SHARD)
    missing = [s for s in starts if not _shard(shards, s).exists()]
    started = time.perf_counter()
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress("strategies", *columns) as progress:
        bar = progress.add_task("", total=decisions.count, completed=decisions.count - SHARD * len(missing))
        # Spawned, not forked: torch's thread pools do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _start_worker, (task_name,)) as pool:
            for start, correct in pool.map(_score_shard, missing):
                write_atomically(_shard(shards, start), lambda p, c=correct: _write_array(p, c))  # type: ignore[misc]
                progress.advance(bar, len(correct))
    seconds = time.perf_counter() - started
    correct = np.concatenate([np.load(_shard(shards, s), allow_pickle=False) for s in starts])
    table = out / "measured.npz"
    save(table, decisions, correct, evaluator.images, round(evaluator.baseline * evaluator.images))
    card = {
        "what": f"live validation accuracy of every strategy of task {task_name}",
        "strategies": decisions.count,
        **_identity(task_name, evaluator),
        "precision": "fp32, one thread",
        "statistic": "correctly classified validation images; each strategy scored once (the score is deterministic)",
        "stated_error": {
            "same_machine": "0 images",
            "other_machine": "at most 2 images",
            "sampling": "standard error of an accuracy a is sqrt(a(1-a)/400)",
        },
        "seconds_of_last_run": round(seconds, 1),
        **provenance(command, ["torch", "numpy"]),
    }
    write_card(table, card)
    for start in starts:
        _shard(shards, start).unlink()
    (shards / "identity.json").unlink()
    shards.rmdir()
    return table


def _identity(task_name: str, evaluator: LiveAccuracy) -> dict[str, Any]:
    """What a score depends on: shards of another identity are never mixed in."""
    task = get_task(task_name)
    return {
        "task": task_name,
        "task_version": task.version,
        "weights_sha256": sha256(task.folder / "weights.safetensors"),
        "recovery": evaluator.recovery,
        "calibration_images": task.calibration_images,
        "calibration_digest": evaluator.calibration_digest,
        "validation_images": evaluator.images,
    }


def _claim(shards: Path, identity: dict[str, Any]) -> None:
    mark = shards / "identity.json"
    if not mark.exists():
        write_atomically(mark, lambda p: p.write_text(json.dumps(identity, indent=1)))
    elif read_json(mark) != identity:
        raise ValueError(f"{shards} holds shards of another measurement; remove the folder or choose another")


def _shard(shards: Path, start: int) -> Path:
    return shards / f"{start:06d}.npy"


def _write_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _start_worker(task_name: str) -> None:
    global _evaluator
    import torch

    torch.set_num_threads(1)
    _evaluator = get_task(task_name).live()


def _score_shard(start: int) -> tuple[int, np.ndarray]:
    assert _evaluator is not None
    decisions = _evaluator.decisions
    return start, _evaluator.count_correct(decisions.enumerate(start, min(start + SHARD, decisions.count)))
