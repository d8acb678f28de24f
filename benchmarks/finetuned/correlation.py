"""Kendall's tau and Pearson's r between accuracy before fine-tuning on some images and after it on others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, pearsonr

RESAMPLES = 2000


def correlations(
    correct: NDArray[np.int64], images: int, names: tuple[str, ...], resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """States how well each condition orders strategies as fine-tuning does.

    Before is scored on one half of the images and after on the other, both ways round, and tau and r are the means of
    the two: shared images would make chance agree. Intervals are percentile bootstraps over strategies.

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
        taus = [_both_ways(kendalltau, before[d], after[d]) for d in draws]
        low, high = np.nanquantile(taus, [0.025, 0.975])
        rows.append(
            {
                "recovery": name,
                "mean_accuracy": round(float(before.sum(1).mean() / images), 4),
                "kendall_tau": round(_both_ways(kendalltau, before, after), 3),
                "interval": [round(float(low), 3), round(float(high), 3)],
                "pearson": round(_both_ways(pearsonr, before, after), 3),
            }
        )
    return rows


def _both_ways(statistic: Callable[..., Any], before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    ways = statistic(before[:, 0], after[:, 1]), statistic(before[:, 1], after[:, 0])
    return float(np.mean([way.statistic for way in ways]))
