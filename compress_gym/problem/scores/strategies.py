"""Measured strategies: a sample of a space too large to enumerate, scored live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.labels import check_stored, stored_labels
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.support.cards import stored_arrays, write_arrays
from compress_gym.support.errors import AssetError


@dataclass(frozen=True, eq=False)
class MeasuredStrategies:
    """Strategies and their live scores.

    Attributes:
        strategies: Choices, int64 `[N, T]`, each once.
        rounds: 0 for the broad sample, then the number of the round that found the strategy, int64 `[N]`.
        columns: Score columns that are no counts, float64 `[N]` each; NaN where a strategy was not scored.
        correct: Correctly classified images of each half of the scored images, int64 `[N, 2]`; `None`: no counts.
        images: Number of scored images.
        baseline_correct: What the uncompressed network, as trained, classifies correctly.
        probes: Names of the other conditions under which the first strategies were scored.
        probe_rows: Which strategies those are, int64 `[P]`.
        probe_correct: Their scores under each condition, int64 `[P, conditions, 2]`.
    """

    strategies: NDArray[np.int64]
    rounds: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    correct: NDArray[np.int64] | None = None
    images: int = 0
    baseline_correct: int = 0
    probes: tuple[str, ...] = ()
    probe_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    probe_correct: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 2), dtype=np.int64))

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Accuracies, fractions of 1, float64 `[N]`; NaN where a strategy was not scored."""
        return self.columns[ACCURACY_COLUMN] if self.correct is None else self.correct.sum(1) / self.images

    def column(self, name: str) -> NDArray[np.float64]:
        """Returns a score column, float64 `[N]`."""
        return self.accuracy if name == ACCURACY_COLUMN else self.columns[name]

    def scored(self, name: str = ACCURACY_COLUMN) -> NDArray[np.bool_]:
        """Says which strategies have a score in a column, bool `[N]`."""
        return ~np.isnan(self.column(name))

    @property
    def halves(self) -> NDArray[np.float64] | None:
        """Accuracies on each half of the images, float64 `[N, 2]`; `None`: they were not kept."""
        return None if self.correct is None else self.correct / np.array([(self.images + 1) // 2, self.images // 2])

    def save(self, path: Path, decisions: DecisionSpace) -> None:
        """Writes the strategies; choices take a byte each."""
        counted: dict[str, Any] = {}
        if self.correct is not None:
            counted = {
                "correct": self.correct.astype(np.uint16),
                "images": np.int64(self.images),
                "baseline_correct": np.int64(self.baseline_correct),
                "probes": np.array(self.probes, dtype=str),
                "probe_rows": self.probe_rows.astype(np.uint16),
                "probe_correct": self.probe_correct.astype(np.uint16),
            }
        # Where nothing is counted, a broad sample alone says no rounds.
        rounds = {"rounds": self.rounds.astype(np.uint8)} if counted or self.rounds.any() else {}
        write_arrays(
            path,
            decisions=np.array(decisions.names),
            sizes=decisions.sizes.astype(np.uint8),
            strategies=self.strategies.astype(np.uint8),
            **rounds,
            **counted,
            **self.columns,
            **stored_labels(decisions),
        )

    @classmethod
    def load(cls, path: Path, decisions: DecisionSpace) -> MeasuredStrategies:
        """Reads what `save` wrote.

        Raises:
            AssetError: The file is damaged, or was measured for other decisions.
        """
        with stored_arrays(path, "measured strategies") as file:
            check_stored(path, file, decisions, "measured")
            strategies = file["strategies"].astype(np.int64)
            rounds = file["rounds"] if "rounds" in file else np.zeros(len(strategies))
            counts: dict[str, Any] = {}
            if "correct" in file:
                counts = {name: file[name].astype(np.int64) for name in ("correct", "probe_rows", "probe_correct")}
                counts |= {name: int(file[name]) for name in ("images", "baseline_correct")}
                counts["probes"] = tuple(file["probes"].tolist())
            columns = {name: file[name].astype(np.float64) for name in file if name not in _KNOWN}
            loaded = cls(strategies, rounds.astype(np.int64), columns, **counts)
        loaded._check(path)
        decisions.check(loaded.strategies)
        return loaded

    def _check(self, path: Path) -> None:
        """Checks that scores fit the strategies."""
        count = len(self.strategies)
        if self.correct is None and ACCURACY_COLUMN not in self.columns:
            raise AssetError(f"{path}: holds no accuracies")
        shapes = [column.shape for column in (self.rounds, *self.columns.values())]
        if any(shape != (count,) for shape in shapes):
            raise AssetError(f"{path}: {count} strategies with columns of shapes {shapes}; expected ({count},)")
        if self.correct is None:
            return
        if self.correct.shape != (count, 2):
            raise AssetError(f"{path}: {count} strategies with {self.correct.shape} scores; expected ({count}, 2)")
        if self.correct.sum(1).max(initial=0) > self.images:
            raise AssetError(f"{path}: more images are correct than the {self.images} that were scored")


_KNOWN = frozenset(
    "decisions sizes labels strategies rounds correct images baseline_correct probes probe_rows probe_correct".split()
)
