"""What every accuracy model is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class AccuracyModel(Protocol):
    """Turns strategies into accuracies on the validation split."""

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
