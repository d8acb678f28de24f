"""What every accuracy model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ACCURACY_COLUMN = "accuracy"


class AccuracyModel(Protocol):
    """Turns strategies into accuracies on the validation split.

    One that knows more of a compressed network has an attribute `columns`, the names of its score columns with
    `accuracy` among them, and a method `scores(strategies, columns)` that returns the wanted ones, float64 `[N]` each.
    """

    @property
    def source(self) -> str:
        """`live`, `measured` or `surrogate`."""
        ...

    @property
    def baseline(self) -> float:
        """Accuracy of the uncompressed network, fraction of 1."""
        ...

    def __call__(self, strategies: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns accuracies of strategies `[N, T]`, fractions of 1, float64 `[N]`."""
        ...


def columns_of(model: AccuracyModel) -> tuple[str, ...]:
    """Returns the names of a model's score columns, `accuracy` first."""
    others = tuple(name for name in getattr(model, "columns", ()) if name != ACCURACY_COLUMN)
    return (ACCURACY_COLUMN, *others)


def scores_of(
    model: AccuracyModel, strategies: NDArray[np.int64], columns: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Returns the wanted score columns of strategies `[N, T]`, float64 `[N]` each."""
    if list(columns) == [ACCURACY_COLUMN]:
        return {ACCURACY_COLUMN: model(strategies)}
    found: dict[str, NDArray[np.float64]] = model.scores(strategies, columns)  # type: ignore[attr-defined]
    return found
