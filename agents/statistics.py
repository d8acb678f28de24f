"""Statistics of a matrix of scores, runs by problems: what Agarwal et al. 2021 recommend for few runs.

Interquartile mean, stratified-bootstrap intervals, probability of improvement, performance profiles. RunScores
are normalised: 0 is the uniform strategy, 1 the best strategy known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import mannwhitneyu

RESAMPLES = 2000
# A problem whose best strategy is closer than this to the uniform one is told in points, not normalised.
LEAST_GAP = 0.01
RunScores = NDArray[np.float64]


def normalised(scores: ArrayLike, uniform: float, best: float) -> RunScores:
    """Returns scores of one problem with the uniform strategy at 0 and the best known one at 1.

    Raises:
        ValueError: The two are closer than `LEAST_GAP`: what would be divided by is mostly noise.
    """
    if best - uniform < LEAST_GAP:
        raise ValueError(
            f"best={best} and uniform={uniform} are closer than {LEAST_GAP}; report this problem in points instead"
        )
    return (np.asarray(scores, dtype=np.float64) - uniform) / (best - uniform)


def interquartile_mean(scores: RunScores) -> float:
    """Returns the mean of the middle half of all runs of all problems, `[runs, problems]`."""
    return float(_middle_half(_matrix(scores).ravel(), axis=0))


def bootstrap_interval(
    scores: RunScores,
    statistic: Callable[[RunScores], float] = interquartile_mean,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns a percentile interval; runs are drawn anew within each problem, so that no problem is lost.

    Args:
        scores: `[runs, problems]`.
        statistic: From such a matrix to a number.
        level: Of the interval.
        resamples: How often runs are drawn.
        seed: Of the draws.
    """
    matrix, rng = _matrix(scores), np.random.default_rng(seed)
    columns = np.arange(matrix.shape[1])
    drawn = [statistic(matrix[rng.integers(len(matrix), size=matrix.shape), columns]) for _ in range(resamples)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def probability_of_improvement(first: RunScores, second: RunScores) -> float:
    """Returns how likely a run of the first method beats one of the second on a random problem; equals count half.

    Args:
        first: `[runs, problems]`.
        second: `[runs, problems]`; the number of runs may differ.

    Raises:
        ValueError: The numbers of problems differ.
    """
    one, other = _matrix(first), _matrix(second)
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"methods were scored on {one.shape[1]} and {other.shape[1]} problems")
    beaten = mannwhitneyu(one, other, axis=0, method="asymptotic").statistic
    return float(np.mean(beaten) / (len(one) * len(other)))


def improvement_interval(
    first: RunScores, second: RunScores, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Returns the interval of `probability_of_improvement`, runs of both methods drawn anew within each problem."""
    one, other, rng = _matrix(first), _matrix(second), np.random.default_rng(seed)
    # Who beats whom is found once; drawing runs anew is weighing them by how often they were drawn.
    beaten = (np.sign(one[:, None] - other[None]) + 1) / 2
    drawn_first, drawn_second = (
        rng.multinomial(len(m), np.full(len(m), 1 / len(m)), size=(resamples, m.shape[1])) for m in (one, other)
    )
    drawn = np.einsum("rpi,ijp,rpj->r", drawn_first, beaten, drawn_second, optimize=True) / beaten.size
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def difference_interval(
    first: ArrayLike,
    second: ArrayLike,
    statistic: Callable[[RunScores], RunScores] = lambda runs: np.median(runs, axis=-1),
    level: float = 0.95,
    resamples: int = 10 * RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the interval of the difference of a statistic between two methods on one problem, first less second.

    Args:
        first: RunScores of the first method's runs.
        second: RunScores of the second's, drawn independently.
        statistic: Over the last axis; default: the median.
        level: Of the interval.
        resamples: How often runs are drawn.
        seed: Of the draws.
    """
    rng, drawn = np.random.default_rng(seed), []
    for scores in (np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)):
        drawn.append(statistic(scores[rng.integers(len(scores), size=(resamples, len(scores)))]))
    low, high = np.quantile(drawn[0] - drawn[1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference_interval(
    first: ArrayLike, second: ArrayLike, level: float = 0.95, resamples: int = 10 * RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Returns the interval of the difference of medians of two methods whose runs share seeds, first less second.

    Args:
        first: RunScores of the first method's runs.
        second: RunScores of the second's, in the same order of seeds; pairs are drawn together.
        level: Of the interval.
        resamples: How often pairs are drawn.
        seed: Of the draws.

    Raises:
        ValueError: The numbers of runs differ.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape:
        raise ValueError(f"runs of shapes {one.shape} and {other.shape} are no pairs")
    pairs = np.random.default_rng(seed).integers(len(one), size=(resamples, len(one)))
    drawn = np.median(one[pairs], axis=1) - np.median(other[pairs], axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def curve_interval(
    curves: RunScores, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[RunScores, RunScores, RunScores]:
    """Returns the interquartile mean of one problem's learning curves, point by point, with its interval.

    Args:
        curves: `[runs, points]`.
        level: Of the interval.
        resamples: How often whole runs are drawn.
        seed: Of the draws.

    Returns:
        Mean, lower and upper end, `[points]` each.
    """
    matrix, rng = _matrix(curves), np.random.default_rng(seed)
    drawn = _middle_half(matrix[rng.integers(len(matrix), size=(resamples, len(matrix)))], axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return _middle_half(matrix, axis=0), low, high


def performance_profile(scores: RunScores, thresholds: ArrayLike) -> RunScores:
    """Returns the fraction of runs, over all problems, whose score is above each threshold."""
    matrix = _matrix(scores)
    return (matrix[..., None] > np.asarray(thresholds, dtype=np.float64)).mean(axis=(0, 1))


def _middle_half(values: RunScores, axis: int) -> RunScores:
    """SciPy's `trim_mean(values, 0.25, axis)`, without the checks that take longer than the mean."""
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, 0)
    cut = len(ordered) // 4
    return ordered[cut : len(ordered) - cut].mean(axis=0)


def _matrix(scores: RunScores) -> RunScores:
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"scores have shape {matrix.shape}; expected [runs, problems]")
    if not np.isfinite(matrix).all():
        raise ValueError("scores hold numbers that are not finite: a run is missing or has failed")
    return matrix
