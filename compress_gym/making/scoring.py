"""Scores strategies live, in parallel, in shards on disk: killed at any moment, it goes on where it was."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from compress_gym.kinds import Case
from compress_gym.support.cards import write_arrays
from compress_gym.support.processor import processor_name, torch_device_name
from compress_gym.support.resume import claim
from compress_gym.support.workers import results_of
from compress_gym.tasks.conditions import Conditions

SHARD = 64
_scorer: Any = None


@dataclass(frozen=True)
class LiveScores:
    """Live scores of the first strategies that were asked for.

    Attributes:
        columns: What `measure` of the scorer returns, one entry a strategy; NaN where a column was not wanted.
        hardware: The processors that scored them, each once.
    """

    columns: dict[str, NDArray[Any]]
    hardware: tuple[str, ...]

    @property
    def correct(self) -> NDArray[np.int64]:
        """Correctly classified images of the two halves, int64 `[N, 2]`."""
        return self.columns["correct"]

    @property
    def count(self) -> int:
        """How many strategies were scored."""
        return len(next(iter(self.columns.values())))


def identity(case: Case, scorer: Any) -> dict[str, Any]:
    """Returns what a score depends on: scores of another identity are never mixed in."""
    return {"task": case.task.name, **case.task.made_with, **scorer.identity}


def score(
    case: Case,
    rows: NDArray[np.int64],
    conditions: Conditions,
    folder: Path,
    workers: int,
    columns: Sequence[str] | None = None,
    costly: int | None = None,
    minutes: float = math.inf,
    shard: int = SHARD,
) -> LiveScores:
    """Scores strategies and keeps every finished shard in a folder.

    Args:
        case: What they are about.
        rows: Strategies, int64 `[N, T]`.
        conditions: How they are scored.
        folder: Holds the shards; those that are there already are not scored again.
        workers: Processes, one thread each.
        columns: Which score columns; default: all of the task.
        costly: The first so many strategies get the task's costly columns, the others the cheap ones; default: all.
        minutes: Begin no shard after so many; what is scored by then is returned.
        shard: Strategies of a shard.

    Returns:
        The scores of all rows, in order; after `minutes`, of the first ones.

    Raises:
        ValueError: The shards there belong to another measurement, or another process is collecting into the folder.
    """
    declared = case.task.declared.columns
    wanted = tuple(columns or declared)
    cheap = tuple(name for name in wanted if not declared[name].costly)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        mark = {
            **identity(case, case.scorer(**vars(conditions))),
            "corruption": conditions.corruption,
            "strategies": hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()[:16],
            "shard": shard,
            "columns": list(wanted),
            "costly": costly,
            **({} if conditions.device == "cpu" else {"scored_on": torch_device_name(conditions.device)}),
        }
        claim(folder, mark)
        jobs = {}
        for start in range(0, len(rows), shard):
            own = wanted if costly is None or start < costly else cheap
            jobs[_path(folder, start)] = (rows[start : start + shard], own)
        missing = {path: job for path, job in jobs.items() if not path.exists()}
        if missing:
            _score_missing(case, missing, conditions, workers, len(rows), minutes)
        done = []
        for path, (part, _) in jobs.items():
            if not path.exists():
                break
            done.append(_read(path, len(part)))
    return _joined(done)


def _score_missing(
    case: Case, missing: dict[Path, Any], conditions: Conditions, workers: int, total: int, minutes: float
) -> None:
    left, paths, started = sum(len(part) for part, _ in missing.values()), list(missing), time.monotonic()
    bars = (TextColumn(f"scoring {conditions.name}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hardware = torch_device_name(conditions.device) if conditions.device != "cpu" else processor_name()
    with Progress(*bars, TimeRemainingColumn()) as progress:
        bar = progress.add_task("", total=total, completed=total - left)
        for number, found in results_of(_measure, list(missing.values()), workers, _prepare, (case, conditions)):
            write_arrays(paths[number], hardware=np.array(hardware), **found)
            progress.advance(bar, len(missing[paths[number]][0]))
            # What is returned begins with the first shard, which may end after others.
            if time.monotonic() - started > 60 * minutes and paths[0].exists():
                break


def _prepare(case: Case, conditions: Conditions) -> None:
    global _scorer
    _scorer = case.scorer(**vars(conditions))


def _measure(rows: NDArray[np.int64], columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = _scorer.measure(rows, columns)
    return found


def _joined(shards: list[tuple[dict[str, NDArray[Any]], str]]) -> LiveScores:
    """Joins shards; a column that some of them lack is NaN there."""
    names = dict.fromkeys(name for columns, _ in shards for name in columns)
    counts = [len(next(iter(columns.values()))) for columns, _ in shards]
    joined = {
        name: np.concatenate(
            [columns.get(name, np.full(n, np.nan)) for (columns, _), n in zip(shards, counts, strict=True)]
        )
        for name in names
    }
    return LiveScores(joined, tuple(sorted({hardware for _, hardware in shards})))


def _locked(folder: Path) -> Any:
    """Locks a folder against a second collector."""
    lock = FileLock(folder / ".lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another process is collecting into {folder}; wait for it, or choose another --out") from None


def _path(folder: Path, start: int) -> Path:
    return folder / f"{start:06d}.npz"


def _read(path: Path, expected: int) -> tuple[dict[str, NDArray[Any]], str]:
    with np.load(path, allow_pickle=False) as file:
        columns, hardware = {name: file[name] for name in file.files if name != "hardware"}, str(file["hardware"])
    for name, column in columns.items():
        if len(column) != expected:
            raise ValueError(f"{path}: holds {len(column)} scores of {name}, expected {expected}; remove the file")
    return columns, hardware
