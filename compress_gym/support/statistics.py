"""Statistics that several packages state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def kendall_tau(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Returns Kendall's tau-a of two orders of the same things, float64 `[N]` each."""
    order = np.sign(first[:, None] - first) * np.sign(second[:, None] - second)
    return float(order.sum() / (len(first) * (len(first) - 1)))
