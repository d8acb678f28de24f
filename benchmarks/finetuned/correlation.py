"""Kendall's tau between accuracy before fine-tuning on some images and after it on others, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

RESAMPLES = 2000


def correlations(
    correct: NDArray[np.int64], images: int, names: tuple[str, ...], resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """States how well each condition orders strategies as fine-tuning does.

    Before is scored on one half of the images and after on the other, both ways round, and tau is the mean of the
    two: shared images would make chance agree. Intervals are percentile bootstraps over strategies.

    Args:
        correct: Correct images of even and odd number, int64 `[strategies, conditions, 2]`; the last condition is the
            fine-tuned network.
        images: How many images were scored in all.
        names: Names of the conditions.
        resamples: Of the bootstrap.

    Returns:
        One entry a condition; the last one is fine-tuning against itself: the ceiling that the labels allow.
    """
    after, rng = correct[:, -1], np.random.default_rng(0)
    draws = rng.integers(len(correct), size=(resamples, len(correct)))
    rows = []
    for number, name in enumerate(names):
        before = correct[:, number]
        taus = [_tau(before[d], after[d]) for d in draws]
        low, high = np.nanquantile(taus, [0.025, 0.975])
        rows.append(
            {
                "recovery": name,
                "mean_accuracy": round(float(before.sum(1).mean() / images), 4),
                "kendall_tau": round(_tau(before, after), 3),
                "interval": [round(float(low), 3), round(float(high), 3)],
            }
        )
    return rows


def _tau(before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    return float(
        (kendalltau(before[:, 0], after[:, 1]).statistic + kendalltau(before[:, 1], after[:, 0]).statistic) / 2
    )
