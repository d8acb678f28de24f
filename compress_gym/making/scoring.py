"""Scores strategies live, in parallel, in shards on disk: killed at any moment, it goes on where it was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from compress_gym.live.scorer import LiveAccuracy
from compress_gym.support.cards import sha256, write_arrays
from compress_gym.support.processor import processor_name
from compress_gym.support.resume import claim
from compress_gym.support.workers import results_of
from compress_gym.tasks import Task

SHARD = 64
_evaluator: LiveAccuracy | None = None


@dataclass(frozen=True)
class Conditions:
    """How strategies are scored.

    Attributes:
        recovery: Name of the recovery.
        corruption: Name of a corruption of the scored images, or "" for none.
        precision: `fp32` or `bf16`.
        env: The environment whose decisions strategies are about.
    """

    recovery: str
    corruption: str = ""
    precision: str = "fp32"
    env: str = "ChannelPrune"

    @property
    def name(self) -> str:
        """A short name: the recovery, what was done to the images, and the precision where it is not fp32."""
        parts = (self.recovery, self.corruption, self.precision if self.precision != "fp32" else "")
        return ", ".join(part for part in parts if part)

    def evaluator(self, task: Task) -> LiveAccuracy:
        """Builds the evaluator."""
        return task.live(
            recovery=self.recovery,
            corruption=self.corruption,
            bf16=self.precision == "bf16",
            decisions=task.decisions(self.env),
        )


@dataclass(frozen=True)
class Scores:
    """Live scores.

    Attributes:
        correct: Correctly classified images of the two halves (images of even and of odd number), int64 `[N, 2]`.
        hardware: The processors that scored them, each once.
    """

    correct: NDArray[np.int64]
    hardware: tuple[str, ...]


def identity(task: Task, evaluator: LiveAccuracy) -> dict[str, Any]:
    """Returns what a score depends on: scores of another identity are never mixed in."""
    of_bits = {"range_images": evaluator.range_images, "range_digest": evaluator.range_digest}
    if evaluator.trains_in_bf16:  # and is scored in float32
        of_bits["finetune_precision"] = "bf16"
    return {
        "task": task.name,
        "task_version": task.version,
        "weights_sha256": sha256(task.folder / "weights.safetensors"),
        "recovery": evaluator.recovery,
        "calibration_images": evaluator.calibration_images,
        "calibration_augmentation": task.calibration_augmentation,
        "calibration_digest": evaluator.calibration_digest,
        "validation_images": evaluator.images,
        "precision": "bf16" if evaluator.bf16 else "fp32",
        "threads": 1,
        **(of_bits if evaluator.range_images else {}),
        **({"finetune_recipes": evaluator.recipes} if evaluator.recipes else {}),
    }


def score(task: Task, rows: NDArray[np.int64], conditions: Conditions, folder: Path, workers: int) -> Scores:
    """Scores strategies and keeps every finished shard in a folder.

    Args:
        task: The task.
        rows: Strategies, int64 `[N, T]`.
        conditions: How they are scored.
        folder: Holds the shards; those that are there already are not scored again.
        workers: Processes, one thread each.

    Returns:
        The scores of all rows, in order.

    Raises:
        ValueError: The shards there belong to another measurement, or another process is collecting into the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        mark = {
            **identity(task, conditions.evaluator(task)),
            "corruption": conditions.corruption,
            "strategies": hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()[:16],
            "shard": SHARD,
        }
        claim(folder, mark)
        starts = range(0, len(rows), SHARD)
        missing = [start for start in starts if not _shard(folder, start).exists()]
        if missing:
            _score_missing(task, rows, conditions, folder, workers, missing)
        shards = [_read(_shard(folder, start), min(SHARD, len(rows) - start)) for start in starts]
    correct = np.concatenate([s[0] for s in shards])
    return Scores(correct, tuple(sorted({s[1] for s in shards})))


def _score_missing(
    task: Task, rows: NDArray[np.int64], conditions: Conditions, folder: Path, workers: int, missing: list[int]
) -> None:
    pieces = [(start, rows[start : start + SHARD]) for start in missing]
    left = sum(len(piece) for _, piece in pieces)
    columns = (TextColumn(conditions.name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        bar = progress.add_task("", total=len(rows), completed=len(rows) - left)
        jobs = [(piece,) for _, piece in pieces]
        for number, correct in results_of(_score_piece, jobs, workers, _prepare, (task, conditions)):
            _write(_shard(folder, pieces[number][0]), correct)
            progress.advance(bar, len(correct))


def _locked(folder: Path) -> Any:
    """Locks a folder against a second collector."""
    lock = FileLock(folder / ".lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another process is collecting into {folder}; wait for it, or choose another --out") from None


def _shard(folder: Path, start: int) -> Path:
    return folder / f"{start:06d}.npz"


def _write(path: Path, correct: NDArray[np.int64]) -> None:
    write_arrays(path, correct=correct.astype(np.uint16), hardware=np.array(processor_name()))


def _read(path: Path, expected: int) -> tuple[NDArray[np.int64], str]:
    with np.load(path, allow_pickle=False) as file:
        correct, hardware = file["correct"].astype(np.int64), str(file["hardware"])
    if correct.shape != (expected, 2):
        raise ValueError(f"{path}: holds scores of shape {correct.shape}, expected ({expected}, 2); remove the file")
    return correct, hardware


def _prepare(task: Task, conditions: Conditions) -> None:
    global _evaluator
    _evaluator = conditions.evaluator(task)


def _score_piece(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    assert _evaluator is not None
    hits = _evaluator.hits(rows)
    return np.stack([hits[:, 0::2].sum(1), hits[:, 1::2].sum(1)], axis=1)
