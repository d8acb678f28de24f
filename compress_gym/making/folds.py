"""Predictions for every measured strategy by a surrogate that did not see it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import kendalltau

from compress_gym.making.fit import fit_surrogate
from compress_gym.problem.decisions import DecisionSpace
from compress_gym.problem.scores.surrogate import SurrogateAccuracy

FOLDS = 5


def held_out_predictions(
    decisions: DecisionSpace,
    strategies: NDArray[np.int64],
    scores: NDArray[np.float64],
    baseline: float,
    fit: Callable[..., SurrogateAccuracy] = fit_surrogate,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cross-validates: fits on four fifths of the rows, predicts the other fifth, five times.

    Returns:
        Predictions and uncertainties (spread 1), float64 `[N]` each.
    """
    fold = np.random.default_rng(seed).permutation(len(strategies)) % FOLDS
    predicted, uncertain = np.empty(len(strategies)), np.empty(len(strategies))
    for number in track(range(FOLDS), description="cross-validation"):
        seen, unseen = fold != number, fold == number
        surrogate = fit(decisions, strategies[seen], scores[seen], baseline, seed=seed + number)
        predicted[unseen] = surrogate(strategies[unseen])
        uncertain[unseen] = surrogate.uncertainty(strategies[unseen])
    return predicted, uncertain


def learning_curve(
    decisions: DecisionSpace,
    strategies: NDArray[np.int64],
    scores: NDArray[np.float64],
    baseline: float,
    fit: Callable[..., SurrogateAccuracy] = fit_surrogate,
    seed: int = 0,
) -> list[dict[str, float]]:
    """States the error on a fixed fifth of a sample `[N, T]` against the number of rows fitted on."""
    order = np.random.default_rng(seed).permutation(np.arange(len(strategies)))
    unseen, seen = order[: len(order) // FOLDS], order[len(order) // FOLDS :]
    sizes = [n for n in (250, 500, 1000, 2000, 4000, 8000) if n < len(seen)] + [len(seen)]
    curve = []
    for rows in track(sizes, description="learning curve"):
        surrogate = fit(decisions, strategies[seen[:rows]], scores[seen[:rows]], baseline, seed=seed)
        curve.append({"rows": rows, **errors(surrogate(strategies[unseen]), scores[unseen])})
    return curve


def errors(predicted: NDArray[np.float64], live: NDArray[np.float64]) -> dict[str, float]:
    """States mean absolute error (fraction of 1) and Kendall's tau of predictions, float64 `[N]` each."""
    return {
        "mae": round(float(np.abs(predicted - live).mean()), 5),
        "kendall_tau": round(float(kendalltau(predicted, live).statistic), 4),
    }
