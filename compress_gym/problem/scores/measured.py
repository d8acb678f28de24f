"""Measured accuracy: every strategy of a space was scored live once; here is the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.labels import check_stored_labels, stored_labels
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.support.cards import read_card, stored_arrays, write_arrays
from compress_gym.support.errors import AssetError

_KNOWN = frozenset("decisions values labels correct images baseline_correct baseline".split())


class MeasuredAccuracy:
    """Looks accuracies up in an exhaustive table.

    Attributes:
        source: `"measured"`.
        table: Accuracies, float64 `[number of strategies]`, in the order of `DecisionSpace.enumerate`.
        baseline: Accuracy of the uncompressed network, as trained.
        others: Tables of further score columns, by name.
    """

    source = "measured"

    def __init__(
        self,
        decisions: DecisionSpace,
        table: NDArray[np.float64],
        baseline: float,
        others: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """Takes tables of one's own; see `load` for shipped ones."""
        accuracies = np.asarray(table, dtype=np.float64)
        if accuracies.shape != (decisions.count,):
            raise ValueError(f"table has shape {accuracies.shape}; expected [{decisions.count}]")
        if not (np.isfinite(accuracies).all() and (accuracies >= 0).all() and (accuracies <= 1).all()):
            raise ValueError("table holds accuracies that are not within 0 and 1")
        self.table, self.baseline, self.others = accuracies, float(baseline), dict(others or {})
        for name, column in self.others.items():
            if np.shape(column) != (decisions.count,):
                raise ValueError(f"column {name!r} has shape {np.shape(column)}; expected [{decisions.count}]")
        self._decisions = decisions

    def __call__(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns accuracies, fractions of 1, float64 `[N]`."""
        return self.table[self._decisions.index(strategies)]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the score columns."""
        return (ACCURACY_COLUMN, *self.others)

    def scores(self, strategies: ArrayLike, columns: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Returns the wanted score columns, float64 `[N]` each."""
        rows = self._decisions.index(strategies)
        return {name: (self.table if name == ACCURACY_COLUMN else self.others[name])[rows] for name in columns}

    def restricted(self, decisions: DecisionSpace) -> MeasuredAccuracy:
        """Returns the part of the table in which decisions have fewer values.

        Raises:
            ValueError: The table lacks a decision or a value.
        """
        places = decisions.places_in(self._decisions)

        def part(table: NDArray[np.float64]) -> NDArray[np.float64]:
            return table.reshape(self._decisions.sizes)[np.ix_(*places)].ravel()

        others = {name: part(column) for name, column in self.others.items()}
        return MeasuredAccuracy(decisions, part(self.table), self.baseline, others)

    @classmethod
    def load(cls, path: Path, decisions: DecisionSpace) -> MeasuredAccuracy:
        """Reads a table written by `save`.

        Raises:
            AssetError: The file is damaged, or was measured for other decisions.
        """
        with stored_arrays(path, "a measured table") as file:
            names = file["decisions"].tolist()
            if names != list(decisions.names) or not np.array_equal(file["values"], _values_matrix(decisions)):
                raise AssetError(f"{path}: measured for decisions {names}, not for {list(decisions.names)}")
            check_stored_labels(path, file, decisions)
            others = {name: file[name].astype(np.float64) for name in file if name not in _KNOWN}
            if "correct" in file:
                correct, images = file["correct"], int(file["images"])
                baseline, accuracy = int(file["baseline_correct"]) / images, correct / images
            else:
                accuracy, baseline = others.pop(ACCURACY_COLUMN), float(file["baseline"])
        try:
            return cls(decisions, accuracy, baseline, others)
        except ValueError as error:
            raise AssetError(f"{path}: {error} ({read_card(path).get('what')})") from error


def save(
    path: Path,
    decisions: DecisionSpace,
    correct: NDArray[np.int64],
    images: int,
    baseline_correct: int,
    others: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Writes a table of correctly classified images out of `images`, one entry a strategy, and other columns."""
    counted = {"images": np.int64(images), "baseline_correct": np.int64(baseline_correct)}
    _write(path, decisions, correct=correct.astype(np.uint16), **counted, **(others or {}))


def save_columns(
    path: Path, decisions: DecisionSpace, columns: Mapping[str, NDArray[np.float64]], baseline: float
) -> None:
    """Writes score columns that are no counts, `accuracy` among them, one entry a strategy."""
    _write(path, decisions, baseline=np.float64(baseline), **columns)


def _write(path: Path, decisions: DecisionSpace, **arrays: Any) -> None:
    described = {"decisions": np.array(decisions.names), "values": _values_matrix(decisions)}
    write_arrays(path, **described, **arrays, **stored_labels(decisions))


def _values_matrix(decisions: DecisionSpace) -> NDArray[np.int64]:
    """Numbers that every decision can be, int64 `[T, most values]`, padded with -1; labels are stored apart."""
    matrix = np.full((len(decisions), int(decisions.sizes.max())), -1, dtype=np.int64)
    for row, decision in zip(matrix, decisions.decisions, strict=True):
        row[: len(decision.values)] = -1 if decision.has_labels else decision.numbers
    return matrix
