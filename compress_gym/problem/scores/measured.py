"""Measured accuracy: every strategy of a space was scored live once; here is the table."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.labels import check_labels, read_labels, stored_labels
from compress_gym.support.cards import read_card, write_arrays
from compress_gym.support.errors import AssetError


class MeasuredAccuracy:
    """Looks accuracies up in an exhaustive table.

    Attributes:
        source: `"measured"`.
        table: Accuracies, float64 `[number of strategies]`, in the order of `DecisionSpace.enumerate`.
        baseline: Accuracy of the uncompressed network, as trained.
    """

    source = "measured"

    def __init__(self, decisions: DecisionSpace, table: NDArray[np.float64], baseline: float) -> None:
        """Takes a table of one's own; see `load` for a shipped one."""
        accuracies = np.asarray(table, dtype=np.float64)
        if accuracies.shape != (decisions.count,):
            raise ValueError(f"table has shape {accuracies.shape}; expected [{decisions.count}]")
        if not (np.isfinite(accuracies).all() and (accuracies >= 0).all() and (accuracies <= 1).all()):
            raise ValueError("table holds accuracies that are not within 0 and 1")
        self.table, self.baseline = accuracies, float(baseline)
        self._decisions = decisions

    def __call__(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns accuracies, fractions of 1, float64 `[N]`."""
        return self.table[self._decisions.index(strategies)]

    def restricted(self, decisions: DecisionSpace) -> MeasuredAccuracy:
        """Returns the part of the table in which decisions have fewer values.

        Raises:
            ValueError: The table lacks a decision or a value.
        """
        places = decisions.places_in(self._decisions)
        part = self.table.reshape(self._decisions.sizes)[np.ix_(*places)]
        return MeasuredAccuracy(decisions, part.ravel(), self.baseline)

    @classmethod
    def load(cls, path: Path, decisions: DecisionSpace) -> MeasuredAccuracy:
        """Reads a table written by `save`.

        Raises:
            AssetError: The file is damaged, or was measured for other decisions.
        """
        card = read_card(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                names, values = file["decisions"].tolist(), file["values"]
                correct, images = file["correct"], int(file["images"])
                baseline = int(file["baseline_correct"]) / images
                labels = read_labels(file)
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, ZeroDivisionError) as error:
            raise AssetError(f"{path}: not readable as a measured table ({error})") from error
        expected = _values_matrix(decisions)
        if names != list(decisions.names) or not np.array_equal(values, expected):
            raise AssetError(f"{path}: measured for decisions {names}, not for {list(decisions.names)}")
        check_labels(path, labels, decisions)
        if correct.shape != (decisions.count,) or correct.max(initial=0) > images:
            raise AssetError(
                f"{path}: table has shape {correct.shape} and maximum {correct.max(initial=0)}; "
                f"expected [{decisions.count}] counts of at most {images} ({card.get('what')})"
            )
        return cls(decisions, correct / images, baseline)


def save(
    path: Path,
    decisions: DecisionSpace,
    correct: NDArray[np.int64],
    images: int,
    baseline_correct: int,
) -> None:
    """Writes a table of correctly classified images out of `images`, one entry a strategy."""
    write_arrays(
        path,
        decisions=np.array(decisions.names),
        values=_values_matrix(decisions),
        correct=correct.astype(np.uint16),
        images=np.int64(images),
        baseline_correct=np.int64(baseline_correct),
        **stored_labels(decisions),
    )


def _values_matrix(decisions: DecisionSpace) -> NDArray[np.int64]:
    """Numbers that every decision can be, int64 `[T, most values]`, padded with -1; labels are stored apart."""
    matrix = np.full((len(decisions), int(decisions.sizes.max())), -1, dtype=np.int64)
    for row, decision in zip(matrix, decisions.decisions, strict=True):
        row[: len(decision.values)] = -1 if decision.has_labels else decision.numbers
    return matrix
