"""Live scores of what searches found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from compress_gym.kinds import Case, get_case
from compress_gym.live.scorer import ImageScorer
from compress_gym.live.training import Recipe
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.support.cards import read_json, write_atomically
from compress_gym.support.resume import claim
from compress_gym.support.workers import results_of
from compress_gym.tasks import Task

PRECISIONS = {False: "fp32", True: "bf16"}
_current: ImageScorer | None = None


class PaperScores:
    """Live accuracies of strategies, kept in a folder: each is scored once, whatever searches were told of it."""

    def __init__(
        self, case: Case, decisions: DecisionSpace, folder: Path, workers: int = 1, bf16: bool = False
    ) -> None:
        """Reads what is there.

        Args:
            case: The task and the kind.
            decisions: What strategies decide.
            folder: Theirs alone.
            workers: Processes that score.
            bf16: Whether fine-tuning computes in bfloat16; scores do not.

        Raises:
            ValueError: The folder holds scores of other weights, decisions or training.
        """
        folder.mkdir(parents=True, exist_ok=True)
        claim(folder, _identity(case.task, decisions, bf16))
        self._case, self._decisions, self._path = case, decisions, folder / "scores.json"
        self._workers, self._bf16 = workers, bf16
        self._found: dict[str, float] = read_json(self._path) if self._path.exists() else {}

    def __call__(self, strategy: Mapping[str, int], split: str = "validation", epochs: int = 0) -> float:
        """Returns the accuracy of a strategy, fraction of 1, after so many epochs of fine-tuning."""
        return self.all([strategy], split, epochs)[0]

    def all(self, strategies: Sequence[Mapping[str, int]], split: str = "validation", epochs: int = 0) -> list[float]:
        """Returns the accuracies of strategies, fractions of 1, after so many epochs of fine-tuning."""
        recovery = self._case.task.recovery + (f"+finetune-{epochs}" if epochs else "")
        rows = [self._decisions.encode(s) for s in strategies]
        keys = [f"{split} {recovery} {' '.join(map(str, row.tolist()))}" for row in rows]
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._found}
        jobs = [(row,) for row in missing.values()]
        where = self._case.kind.id, self._case.task.folder
        settings = *where, self._decisions, recovery, split, PRECISIONS[self._bf16 and epochs > 0]
        workers = min(self._workers, len(jobs))
        results = results_of(_score, jobs, workers, _prepare, settings)
        told = f"live, {split}, {recovery}"
        for number, accuracy in track(results, told, len(jobs)) if jobs else ():
            self._found[list(missing)[number]] = accuracy
            write_atomically(self._path, lambda p: p.write_text(json.dumps(self._found, indent=1) + "\n"))
        return [self._found[key] for key in keys]

    def rank(self, strategies: Sequence[Mapping[str, int]], count: int) -> list[Mapping[str, int]]:
        """Returns the best distinct strategies by validation accuracy, best first, the earlier of equals."""
        distinct: dict[tuple[int, ...], Mapping[str, int]] = {}
        for strategy in strategies:
            distinct.setdefault(tuple(self._decisions.encode(strategy).tolist()), strategy)
        candidates = list(distinct.values())
        order = np.argsort(-np.array(self.all(candidates)), kind="stable")
        return [candidates[n] for n in order[:count]]


@lru_cache(maxsize=2)  # one for each split
def _scorer(
    kind: str, folder: Path, decisions: DecisionSpace, recovery: str, split: str, precision: str
) -> ImageScorer:
    scorer: ImageScorer = get_case(kind, Task.read(folder)).scorer(
        decisions, recovery=recovery, split=split, precision=precision
    )
    return scorer


def _prepare(*settings: Any) -> None:
    global _current
    _current = _scorer(*settings)


def _score(row: NDArray[np.int64]) -> float:
    assert _current is not None
    return float(_current(row)[0])


def _identity(task: Task, decisions: DecisionSpace, bf16: bool) -> dict[str, Any]:
    choices = json.dumps([(d.name, list(d.values)) for d in decisions.decisions])
    return {
        "task": task.name,
        "task_version": task.version,
        "weights_sha256": task.weights_digest,
        "decisions": hashlib.sha256(choices.encode()).hexdigest()[:16],
        "bf16": bf16,
        "recipes": [asdict(recipe) for recipe in finetune_recipes(task)],
    }


def finetune_recipes(task: Task) -> tuple[Recipe, Recipe]:
    """Returns how a task's networks are fine-tuned: those that were pruned, and those that were only quantised."""
    recipes = task.declared.recipes
    return Recipe.of(recipes.get("finetune")), Recipe.of(recipes.get("finetune_bits"))
