"""A surrogate: a small ensemble fitted to live scores, one jitted forward pass a strategy."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress_gym.cards import read_card, write_arrays
from compress_gym.decisions import DecisionSpace
from compress_gym.errors import AssetError
from compress_gym.jit import jit


@jit
def predict_row(
    features: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    last: NDArray[np.float32],
    choices: NDArray[np.int64],
    predictions: NDArray[np.float32],
) -> float:
    """Predicts one strategy's accuracy: the mean over an ensemble of networks with two hidden layers.

    The inner loops run over output units, so they vectorise while each sum keeps its order.

    Args:
        features: Input of every choice, float32 `[T, most values]`.
        first: Weights and, as the last row, biases, float32 `[members, T + 1, hidden]`.
        second: The same, float32 `[members, hidden + 1, hidden]`.
        last: The same, float32 `[members, hidden + 1]`.
        choices: int64 `[T]`.
        predictions: Each member's accuracy, float32 `[members]`, overwritten.

    Returns:
        Accuracy, fraction of 1.
    """
    members, hidden = last.shape[0], last.shape[1] - 1
    inputs = first.shape[1] - 1
    below = np.empty(hidden, dtype=np.float32)
    above = np.empty(hidden, dtype=np.float32)
    total = 0.0
    for m in range(members):
        for j in range(hidden):
            below[j] = first[m, inputs, j]
        for i in range(inputs):
            x = features[i, choices[i]]
            for j in range(hidden):
                below[j] += x * first[m, i, j]
        for j in range(hidden):
            above[j] = second[m, hidden, j]
        for i in range(hidden):
            x = below[i]
            if x > 0:
                for j in range(hidden):
                    above[j] += x * second[m, i, j]
        z = last[m, hidden]
        for j in range(hidden):
            z += max(above[j], np.float32(0)) * last[m, j]
        predictions[m] = 1.0 / (1.0 + np.exp(-np.float64(z)))
        total += predictions[m]
    return total / members


@jit
def predict_rows(
    features: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    last: NDArray[np.float32],
    strategies: NDArray[np.int64],
    predictions: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Predicts strategies `[N, T]`: float64 `[N]`; `predictions` float32 `[N, members]` is overwritten."""
    accuracies = np.empty(strategies.shape[0])
    for n in range(strategies.shape[0]):
        accuracies[n] = predict_row(features, first, second, last, strategies[n], predictions[n])
    return accuracies


@dataclass(frozen=True, eq=False)
class SurrogateAccuracy:
    """Predicts accuracies; its card states how far they are from live ones.

    Attributes:
        decisions: The space of strategies.
        first: First layer of every member, biases as the last row, float32 `[members, T + 1, hidden]`.
        second: Second layer, float32 `[members, hidden + 1, hidden]`.
        last: Last layer, float32 `[members, hidden + 1]`.
        spread: What the members' standard deviation is multiplied by to become an error of one standard deviation.
        baseline: Accuracy of the uncompressed network, as trained.
    """

    decisions: DecisionSpace
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    last: NDArray[np.float32]
    spread: float
    baseline: float

    @property
    def source(self) -> str:
        """`surrogate`."""
        return "surrogate"

    def __post_init__(self) -> None:
        """Checks the shapes.

        Raises:
            ValueError: The arrays do not fit each other or the decisions.
        """
        members, hidden = self.last.shape[0], self.last.shape[1] - 1
        expected = (members, len(self.decisions) + 1, hidden), (members, hidden + 1, hidden)
        if (self.first.shape, self.second.shape) != expected:
            raise ValueError(f"layers have shapes {self.first.shape} and {self.second.shape}; expected {expected}")
        if not all(np.isfinite(layer).all() for layer in (self.first, self.second, self.last)):
            raise ValueError("layers hold numbers that are not finite")

    def __call__(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns accuracies, fractions of 1, float64 `[N]`."""
        return self._predict(self.decisions.check(strategies))[0]

    def uncertainty(self, strategies: ArrayLike) -> NDArray[np.float64]:
        """Returns the expected error of each prediction, one standard deviation, fractions of 1, float64 `[N]`."""
        members = self._predict(self.decisions.check(strategies))[1]
        return members.astype(np.float64).std(axis=1) * self.spread

    @cached_property
    def _features(self) -> NDArray[np.float32]:
        return input_features(self.decisions)

    def _predict(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        members = np.empty((len(rows), len(self.last)), dtype=np.float32)
        return predict_rows(self._features, self.first, self.second, self.last, rows, members), members

    def save(self, path: Path) -> None:
        """Writes the ensemble."""
        write_arrays(
            path,
            decisions=np.array(self.decisions.names),
            sizes=self.decisions.sizes.astype(np.uint8),
            first=self.first,
            second=self.second,
            last=self.last,
            spread=np.float64(self.spread),
            baseline=np.float64(self.baseline),
        )

    @classmethod
    def load(cls, path: Path, decisions: DecisionSpace) -> SurrogateAccuracy:
        """Reads what `save` wrote.

        Raises:
            AssetError: The file is damaged, or was fitted for other decisions.
        """
        read_card(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                names, sizes = tuple(file["decisions"].tolist()), file["sizes"]
                layers = [np.ascontiguousarray(file[name], dtype=np.float32) for name in ("first", "second", "last")]
                spread, baseline = float(file["spread"]), float(file["baseline"])
            if names != decisions.names or not np.array_equal(sizes, decisions.sizes):
                raise AssetError(f"{path}: fitted for decisions {list(names)}, not for {list(decisions.names)}")
            return cls(decisions, layers[0], layers[1], layers[2], spread, baseline)
        except AssetError:
            raise
        except (KeyError, ValueError, OSError, EOFError, IndexError, zipfile.BadZipFile) as error:
            raise AssetError(f"{path}: not readable as a surrogate ({error})") from error


def input_features(decisions: DecisionSpace) -> NDArray[np.float32]:
    """Returns what each choice looks like to the surrogate: its value's share of the largest, from -1 to 1.

    Returns:
        float32 `[T, most values]`, padded with zeros.
    """
    table = np.zeros((len(decisions), int(decisions.sizes.max())), dtype=np.float32)
    for row, decision in zip(table, decisions.decisions, strict=True):
        values = np.array(decision.values, dtype=np.float64)
        row[: len(values)] = 2 * values / values[-1] - 1
    return table
