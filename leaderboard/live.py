"""Live scores of strategies on validation and test images, kept on disk: killed, they go on where they were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
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

from compress_gym.problem.scores import AccuracyModel
from compress_gym.support.cards import sha256
from compress_gym.support.processor import processor_name
from compress_gym.tasks import get_task
from compress_gym.tasks.translation import TRANSLATION_TASKS, get_translation_task
from leaderboard.tracks import Track

SPLITS = ("validation", "test")


def _network(track: Track, task: str, split: str) -> AccuracyModel:
    return get_task(task).live(split=split, decisions=track.problem(task).decisions)


def _transformer(track: Track, task: str, split: str) -> AccuracyModel:
    return get_translation_task(task).live(split)


# Environment id without its version, to what scores a task's strategies in fp32 on one thread, on one split.
LIVE: dict[str, Callable[[Track, str, str], AccuracyModel]] = {
    **{f"compress_gym/{env}": _network for env in ("ChannelPrune", "MixedQuant", "JointPQ")},
    "compress_gym/TransformerNAS": _transformer,
}


def conditions(task: str) -> dict[str, Any]:
    """Returns what a live score depends on besides the machine; a record made under others no longer counts."""
    if task in TRANSLATION_TASKS:
        translation = get_translation_task(task)
        weights = sha256(translation.folder / "weights.safetensors")
        return {"task_version": translation.version, "weights_sha256": weights, "precision": "fp32"}
    chosen = get_task(task)
    return {
        "task_version": chosen.version,
        "weights_sha256": sha256(chosen.folder / "weights.safetensors"),
        "recovery": chosen.recovery,
        "calibration_images": chosen.calibration_images,
        "precision": "fp32",
    }


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
            KeyError: The environment has no live evaluator here.
            ValueError: Another process is scoring into the folder.
            FileNotFoundError: The data set is missing; the message names the command that brings it.
        """
        if track.env_name not in LIVE:
            raise KeyError(f"env={track.env!r} cannot be scored live here; live: {', '.join(LIVE)}")
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
    return [LIVE[track.env_name](track, task, split) for split in SPLITS]


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
