"""Measured strategies: a sample of a space too large to enumerate, scored live."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.labels import check_labels, read_labels, stored_labels
from compress_gym.support.cards import read_card, write_arrays
from compress_gym.support.errors import AssetError


@dataclass(frozen=True)
class MeasuredStrategies:
    """Strategies and their live scores.

    Attributes:
        strategies: Choices, int64 `[N, T]`, each once.
        rounds: 0 for the broad sample, then the number of the round that found the strategy, int64 `[N]`.
        correct: Correctly classified images of each half of the scored images, int64 `[N, 2]`.
        images: Number of scored images.
        baseline_correct: What the uncompressed network, as trained, classifies correctly.
        probes: Names of the other conditions under which the first strategies were scored.
        probe_rows: Which strategies those are, int64 `[P]`.
        probe_correct: Their scores under each condition, int64 `[P, conditions, 2]`.
    """

    strategies: NDArray[np.int64]
    rounds: NDArray[np.int64]
    correct: NDArray[np.int64]
    images: int
    baseline_correct: int
    probes: tuple[str, ...]
    probe_rows: NDArray[np.int64]
    probe_correct: NDArray[np.int64]

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Accuracies, fractions of 1, float64 `[N]`."""
        return self.correct.sum(1) / self.images

    @property
    def halves(self) -> NDArray[np.float64]:
        """Accuracies on each half of the images, float64 `[N, 2]`."""
        return self.correct / np.array([(self.images + 1) // 2, self.images // 2])

    def save(self, path: Path, decisions: DecisionSpace) -> None:
        """Writes the strategies; choices take a byte each."""
        write_arrays(
            path,
            decisions=np.array(decisions.names),
            sizes=decisions.sizes.astype(np.uint8),
            strategies=self.strategies.astype(np.uint8),
            rounds=self.rounds.astype(np.uint8),
            correct=self.correct.astype(np.uint16),
            images=np.int64(self.images),
            baseline_correct=np.int64(self.baseline_correct),
            probes=np.array(self.probes, dtype=str),
            probe_rows=self.probe_rows.astype(np.uint16),
            probe_correct=self.probe_correct.astype(np.uint16),
            **stored_labels(decisions),
        )

    @classmethod
    def load(cls, path: Path, decisions: DecisionSpace) -> MeasuredStrategies:
        """Reads what `save` wrote.

        Raises:
            AssetError: The file is damaged, or was measured for other decisions.
        """
        read_card(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                names, sizes = tuple(file["decisions"].tolist()), file["sizes"]
                labels = read_labels(file)
                loaded = cls(
                    strategies=file["strategies"].astype(np.int64),
                    rounds=file["rounds"].astype(np.int64),
                    correct=file["correct"].astype(np.int64),
                    images=int(file["images"]),
                    baseline_correct=int(file["baseline_correct"]),
                    probes=tuple(file["probes"].tolist()),
                    probe_rows=file["probe_rows"].astype(np.int64),
                    probe_correct=file["probe_correct"].astype(np.int64),
                )
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise AssetError(f"{path}: not readable as measured strategies ({error})") from error
        if names != decisions.names or not np.array_equal(sizes, decisions.sizes):
            raise AssetError(f"{path}: measured for decisions {list(names)}, not for {list(decisions.names)}")
        check_labels(path, labels, decisions)
        count = len(loaded.strategies)
        if loaded.correct.shape != (count, 2) or loaded.rounds.shape != (count,):
            raise AssetError(f"{path}: {count} strategies with {loaded.correct.shape} scores; expected ({count}, 2)")
        if loaded.correct.sum(1).max(initial=0) > loaded.images:
            raise AssetError(f"{path}: more images are correct than the {loaded.images} that were scored")
        decisions.check(loaded.strategies)
        return loaded
