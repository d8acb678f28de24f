"""A surrogate: a small ensemble fitted to live scores, one jitted forward pass a strategy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.labels import check_stored, stored_labels
from compress_gym.problem.scores.model import ACCURACY_COLUMN
from compress_gym.support.cards import stored_arrays, write_arrays
from compress_gym.support.jit import Floats, Ints, Singles, inlined, jit, within

Link = Callable[[Floats], Floats]


@inlined
def look_up(weights: Singles, first: int, values: int, choices: Ints, units: Singles) -> None:
    """Sums what choices add to the units of the first layer, `[hidden]`, four choices in a pass."""
    inputs, hidden = len(choices), len(units)
    for j in range(hidden):
        units[j] = np.float32(0)
    fours = inputs - inputs % 4
    for i in range(0, fours, 4):
        row_a = weights[first + (i * values + choices[i]) * hidden :]
        row_b = weights[first + ((i + 1) * values + choices[i + 1]) * hidden :]
        row_c = weights[first + ((i + 2) * values + choices[i + 2]) * hidden :]
        row_d = weights[first + ((i + 3) * values + choices[i + 3]) * hidden :]
        for j in range(hidden):
            units[j] = (((units[j] + row_a[j]) + row_b[j]) + row_c[j]) + row_d[j]
    for i in range(fours, inputs):
        row = weights[first + (i * values + choices[i]) * hidden :]
        for j in range(hidden):
            units[j] += row[j]


@within
def predict_row(weights: Singles, members: int, values: int, choices: Ints, units: Singles) -> float:
    """Predicts one strategy's accuracy by an ensemble of networks, each of two hidden layers of rectified units.

    What a choice adds to the first layer is looked up. The inner loops run over output units, so they vectorise while
    each sum keeps its order; four inputs are added in one pass, one after the other.

    Args:
        weights: What `SurrogateAccuracy.flat` lays out, float32; more may follow.
        members: How many networks.
        values: Most values of a decision.
        choices: The strategy, int64 `[T]`.
        units: float32 `[2, hidden]`, overwritten.

    Returns:
        Accuracy, fraction of 1: the mean over the networks.
    """
    inputs, hidden, total = len(choices), units.shape[1], 0.0
    below, above, zero = units[0], units[1], np.float32(0)
    for member in range(members):
        first = member * (inputs * values * hidden + (hidden + 1) * (hidden + 1))
        second = first + inputs * values * hidden
        last = second + (hidden + 1) * hidden
        look_up(weights, first, values, choices, below)
        for j in range(hidden):
            above[j] = weights[last - hidden + j]
        for i in range(0, hidden, 4):
            a, b = max(below[i], zero), max(below[i + 1], zero)
            c, d = max(below[i + 2], zero), max(below[i + 3], zero)
            at = second + i * hidden
            row_a, row_b = weights[at:], weights[at + hidden :]
            row_c, row_d = weights[at + 2 * hidden :], weights[at + 3 * hidden :]
            for j in range(hidden):
                above[j] = (((above[j] + a * row_a[j]) + b * row_b[j]) + c * row_c[j]) + d * row_d[j]
        row = weights[last:]
        for j in range(hidden):
            above[j] = max(above[j], zero) * row[j]
        a = b = c = d = zero  # four sums in turns do not wait for each other
        for j in range(0, hidden, 4):
            a += above[j]
            b += above[j + 1]
            c += above[j + 2]
            d += above[j + 3]
        z = ((a + b) + (c + d)) + row[hidden]
        total += 1.0 / (1.0 + math.exp(-np.float64(z)))
    return total / members


@jit
def predict_rows(weights: Singles, members: int, values: int, hidden: int, strategies: Ints) -> Floats:
    """Predicts strategies `[N, T]`: float64 `[N]`."""
    accuracies, units = np.empty(strategies.shape[0]), np.empty((2, hidden), dtype=np.float32)
    for n in range(strategies.shape[0]):
        accuracies[n] = predict_row(weights, members, values, strategies[n], units)
    return accuracies


@jit
def predict_members(weights: Singles, members: int, values: int, hidden: int, strategies: Ints) -> Floats:
    """Predicts strategies `[N, T]` by each network of the ensemble: float64 `[N, members]`."""
    accuracies, units = np.empty((strategies.shape[0], members)), np.empty((2, hidden), dtype=np.float32)
    size = strategies.shape[1] * values * hidden + (hidden + 1) * (hidden + 1)
    for n in range(strategies.shape[0]):
        for m in range(members):
            accuracies[n, m] = predict_row(weights[m * size :], 1, values, strategies[n], units)
    return accuracies


# How a score becomes the fraction of 1 that a surrogate predicts, and back.
LINKS: dict[str, tuple[Link, Link]] = {
    "x": (lambda x: x, lambda y: y),
    "exp(-x)": (lambda x: np.exp(-x), lambda y: -np.log(y)),  # the likelihood, of a loss in nats
}


@dataclass(frozen=True, eq=False)
class SurrogateAccuracy:
    """Predicts accuracies; its card states how far they are from live ones.

    Attributes:
        decisions: The space of strategies.
        first: What each choice adds to each unit of the first layer, float32 `[members, T, most values, hidden]`;
            biases are part of the first decision's.
        second: Second layer, biases as the last row, float32 `[members, hidden + 1, hidden]`.
        last: Last layer, float32 `[members, hidden + 1]`.
        spread: What the members' standard deviation is multiplied by to become an error of one standard deviation.
        baseline: Accuracy of the uncompressed network, as trained.
        others: Further score columns by name: the link by which a surrogate predicts them, and that surrogate.
        source: `"surrogate"`.
    """

    decisions: DecisionSpace
    first: Singles
    second: Singles
    last: Singles
    spread: float
    baseline: float
    others: Mapping[str, tuple[str, SurrogateAccuracy]] = field(default_factory=dict)
    source: ClassVar[str] = "surrogate"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the score columns."""
        return (ACCURACY_COLUMN, *self.others)

    def scores(self, strategies: ArrayLike, columns: Sequence[str]) -> dict[str, Floats]:
        """Returns the wanted score columns, float64 `[N]` each."""
        rows = self.decisions.check(strategies)
        return {
            name: self(rows) if name == ACCURACY_COLUMN else LINKS[self.others[name][0]][1](self.others[name][1](rows))
            for name in columns
        }

    def __post_init__(self) -> None:
        """Checks the shapes.

        Raises:
            ValueError: The arrays do not fit each other or the decisions.
        """
        members, hidden = self.last.shape[0], self.last.shape[1] - 1
        values = int(self.decisions.sizes.max())
        expected = (members, len(self.decisions), values, hidden), (members, hidden + 1, hidden)
        if (self.first.shape, self.second.shape) != expected:
            raise ValueError(f"layers have shapes {self.first.shape} and {self.second.shape}; expected {expected}")
        if hidden % 4:
            raise ValueError(f"layers have {hidden} hidden units; a multiple of 4 is needed")
        if not all(np.isfinite(layer).all() for layer in (self.first, self.second, self.last)):
            raise ValueError("layers hold numbers that are not finite")

    def __call__(self, strategies: ArrayLike) -> Floats:
        """Returns accuracies, fractions of 1, float64 `[N]`."""
        accuracies: Floats = predict_rows(self.flat, *self.shape, self.decisions.check(strategies))
        return accuracies

    def uncertainty(self, strategies: ArrayLike) -> Floats:
        """Returns the expected error of each prediction, one standard deviation, fractions of 1, float64 `[N]`."""
        members: Floats = predict_members(self.flat, *self.shape, self.decisions.check(strategies))
        return members.std(axis=1) * self.spread

    def restricted(self, decisions: DecisionSpace) -> SurrogateAccuracy:
        """Returns the same predictions for decisions with fewer values.

        Raises:
            ValueError: The surrogate lacks a decision or a value.
        """
        first = np.zeros_like(self.first[:, :, : int(decisions.sizes.max())])
        for t, places in enumerate(decisions.places_in(self.decisions)):
            first[:, t, : len(places)] = self.first[:, t, places]
        others = {name: (link, other.restricted(decisions)) for name, (link, other) in self.others.items()}
        return replace(self, decisions=decisions, first=first, others=others)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Members, most values of a decision, and hidden units of a layer."""
        return len(self.last), int(self.decisions.sizes.max()), self.last.shape[1] - 1

    @cached_property
    def flat(self) -> Singles:
        """What kernels read: each member's layers, one after the other, float32."""
        layers = zip(self.first, self.second, self.last, strict=True)
        return np.concatenate([layer.ravel() for member in layers for layer in member])

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
            **stored_labels(self.decisions),
        )

    @classmethod
    def load(
        cls, path: Path, decisions: DecisionSpace, others: Mapping[str, tuple[str, SurrogateAccuracy]] | None = None
    ) -> SurrogateAccuracy:
        """Reads what `save` wrote; surrogates of other columns, which lie in files of their own, are given.

        Raises:
            AssetError: The file is damaged, or was fitted for other decisions.
        """
        with stored_arrays(path, "a surrogate") as file:
            check_stored(path, file, decisions, "fitted")
            layers = [np.ascontiguousarray(file[name], dtype=np.float32) for name in ("first", "second", "last")]
            spread, baseline = float(file["spread"]), float(file["baseline"])
            return cls(decisions, layers[0], layers[1], layers[2], spread, baseline, others or {})
