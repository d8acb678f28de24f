"""Live scores of strategies on validation and test images, kept on disk: killed, they go on where they were."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from compress_gym.kinds import get_case
from compress_gym.problem.scores import AccuracyModel
from compress_gym.support.processor import processor_name
from compress_gym.tasks import get_task
from compress_gym.tasks.conditions import SCORED_SPLITS
from leaderboard.tracks import Track

# Of what the cards of a task's files have, what records hold.
RECORDED = ("task_version", "weights_sha256", "recovery", "calibration_images")


def conditions(task: str) -> dict[str, Any]:
    """Returns what a live score depends on besides the machine; a record made under others no longer counts."""
    made_with = get_task(task).made_with
    return {**{key: made_with[key] for key in RECORDED if key in made_with}, "precision": "fp32"}


@dataclass(frozen=True)
class StoredScores:
    """Scores strategies live, each once: what is on disk already is read.

    Attributes:
        folder: Holds a file of scores for each task, its decisions, machine and version of torch.
    """

    folder: Path

    def __call__(self, track: Track, task: str, strategies: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns validation and test accuracies of strategies `[N, T]`, float64 `[N, 2]`.

        Raises:
            KeyError: The track's environment is not one of compress_gym's.
            ValueError: Another process is scoring into the folder.
            FileNotFoundError: The data set is missing; the message names the command that brings it.
        """
        path = self._path(track, task)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(path.with_suffix(".lock")).acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"another process is scoring into {self.folder}; wait for it, or choose another --work"
            ) from None
        with lock:
            known = _read(path)
            missing = list(dict.fromkeys(key for key in map(tuple, strategies.tolist()) if key not in known))
            if missing:
                known |= _score(track, task, missing, path)
        return np.array([known[tuple(row)] for row in strategies.tolist()])

    def _path(self, track: Track, task: str) -> Path:
        identity = {
            **conditions(task),
            "decisions": [(d.name, d.values) for d in track.problem(task).decisions.decisions],
            "processor": processor_name(),
            "torch": metadata.version("torch"),
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / f"{task}-{digest}.jsonl"


def _score(
    track: Track, task: str, missing: list[tuple[int, ...]], path: Path
) -> dict[tuple[int, ...], tuple[float, float]]:
    evaluators = _evaluators(track, task)
    scores = {}
    columns = (TextColumn(f"{task} live"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with path.open("a") as file, Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(missing))
        for key in missing:
            row = np.array([key], dtype=np.int64)
            scores[key] = (float(evaluators[0](row)[0]), float(evaluators[1](row)[0]))
            file.write(json.dumps([*key, *scores[key]]) + "\n")
            file.flush()
            progress.advance(bar)
    return scores


@lru_cache(maxsize=2)
def _evaluators(track: Track, task: str) -> list[AccuracyModel]:
    """Returns the evaluators of both splits: building one takes seconds, and many submissions share it."""
    case, decisions = get_case(track.env, task), track.problem(task).decisions
    return [case.scorer(decisions, split=split) for split in SCORED_SPLITS]


def _read(path: Path) -> dict[tuple[int, ...], tuple[float, float]]:
    """Reads scores; a last line that a kill has cut is taken away, so that the next one begins anew."""
    if not path.exists():
        return {}
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    rows = [json.loads(line) for line in whole.splitlines()]
    return {tuple(row[:-2]): (row[-2], row[-1]) for row in rows}
