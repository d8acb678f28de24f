"""A surrogate whose logit is a sum over decisions: for few rows, where each choice helps or hurts by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.surrogate import SurrogateAccuracy

MEMBERS = 4
# The kernel takes hidden units by fours; one carries the sum.
HIDDEN = 4


def fit_additive(
    decisions: DecisionSpace,
    strategies: NDArray[np.int64],
    accuracies: NDArray[np.float64],
    baseline: float,
    seed: int = 0,
    ridge: float = 0.1,
) -> SurrogateAccuracy:
    """Fits an ensemble of ridge regressions of logits, each to rows drawn with replacement (bagging).

    Every choice but a decision's lowest has a weight of its own; what is inactive has the lowest, and so none. A sum of
    logits has no place for what is never or always right, so accuracies are kept off 0 and 1. The surrogate's spread is
    1 until it is calibrated on rows held out.
    """
    rows, rng = decisions.check(strategies), np.random.default_rng(seed)
    columns = [(t, v) for t, size in enumerate(decisions.sizes) for v in range(1, size)]
    chosen = np.stack([rows[:, t] == v for t, v in columns], axis=1).astype(np.float64)
    accuracies = accuracies.clip(1e-4, 1 - 1e-4)
    logits = np.log(accuracies) - np.log1p(-accuracies)
    first = np.zeros((MEMBERS, len(decisions), int(decisions.sizes.max()), HIDDEN), dtype=np.float32)
    second = np.zeros((MEMBERS, HIDDEN + 1, HIDDEN), dtype=np.float32)
    last = np.zeros((MEMBERS, HIDDEN + 1), dtype=np.float32)
    second[:, 0, 0] = last[:, 0] = 1
    for m in range(MEMBERS):
        drawn = rng.integers(len(rows), size=len(rows))
        means, mean = chosen[drawn].mean(axis=0), logits[drawn].mean()
        centred = chosen[drawn] - means
        weights = np.linalg.solve(
            centred.T @ centred + ridge * np.eye(len(columns)), centred.T @ (logits[drawn] - mean)
        )
        for (t, v), weight in zip(columns, weights, strict=True):
            first[m, t, v, 0] = weight
        constant = mean - means @ weights
        # Kept above 0, the sum passes the rectifiers as it is.
        lift = 1 - constant - float(first[m, ..., 0].min(axis=1).sum())
        first[m, 0, : decisions.sizes[0], 0] += np.float32(constant + lift)
        last[m, HIDDEN] = -lift
    return SurrogateAccuracy(decisions, first, second, last, spread=1.0, baseline=baseline)
