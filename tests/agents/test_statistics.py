from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from agents.statistics import (
    bootstrap_interval,
    curve_interval,
    difference_interval,
    improvement_interval,
    interquartile_mean,
    normalised,
    performance_profile,
    probability_of_improvement,
)


def test_normalisation_by_hand():
    assert normalised([0.5, 0.7, 0.9, 0.4], uniform=0.5, best=0.9).tolist() == pytest.approx([0, 0.5, 1, -0.25])
    with pytest.raises(ValueError, match="report this problem in points"):
        normalised([0.5], uniform=0.895, best=0.9)


def test_the_interquartile_mean_by_hand():
    """Eight scores: the two lowest and the two highest are left out."""
    scores = np.array([[9.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, -100.0]])
    assert interquartile_mean(scores) == (2 + 3 + 4 + 5) / 4


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 1), (5, 3), (10, 4), (7, 7)])
def test_the_interquartile_mean_is_scipys_trimmed_mean(shape):
    scores = np.random.default_rng(0).normal(size=shape)
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None), abs=1e-12)
    assert curve_interval(scores, resamples=10)[0] == pytest.approx(stats.trim_mean(scores, 0.25, axis=0), abs=1e-12)


def test_the_bootstrap_keeps_problems_apart():
    """Every run of a problem is the same: drawing runs within problems changes nothing."""
    scores = np.repeat([[0.1, 0.5, 0.9]], 10, axis=0)
    assert bootstrap_interval(scores, resamples=50) == (interquartile_mean(scores),) * 2


def test_the_bootstrap_of_a_mean_agrees_with_scipys():
    column = np.random.default_rng(0).normal(size=40)
    ours = bootstrap_interval(column[:, None], lambda m: float(m.mean()), resamples=4000)
    theirs = stats.bootstrap((column,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1))
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)


def test_an_interval_covers_what_it_should():
    """Of 200 samples of a known mean, some 95 % of the intervals hold it (fewer, for 20 runs: a known bias)."""
    rng, held = np.random.default_rng(0), 0
    for n in range(200):
        low, high = bootstrap_interval(rng.normal(size=(20, 1)), lambda m: float(m.mean()), resamples=300, seed=n)
        held += low <= 0 <= high
    assert 0.88 <= held / 200 <= 0.98


def test_the_probability_of_improvement_by_hand():
    first, second = np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([[0.0, 5.0], [1.5, 6.0]])
    # problem 1: 1 > 0, 1 < 1.5, 2 > 0, 2 > 1.5: 3 of 4; problem 2: two ties (half each), two lost: 1 of 4
    assert probability_of_improvement(first, second) == (3 / 4 + 1 / 4) / 2


@given(st.integers(0, 2**32 - 1))
def test_the_probabilities_of_both_ways_round_add_up(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 4, size=(5, 3)) / 4, rng.integers(0, 4, size=(7, 3)) / 4
    both = probability_of_improvement(first, second) + probability_of_improvement(second, first)
    assert both == pytest.approx(1)


def test_the_interval_of_improvement_tells_better_from_equal():
    rng = np.random.default_rng(0)
    equal, better = rng.normal(size=(2, 10, 4)), rng.normal(2, 1, size=(10, 4))
    low, high = improvement_interval(equal[0], equal[1])
    assert low < 0.5 < high
    assert improvement_interval(better, equal[0], resamples=300)[0] > 0.5


def test_the_interval_of_improvement_is_that_of_drawing_runs_one_by_one():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.5, 1, size=(8, 2)), rng.normal(size=(6, 2))
    columns = np.arange(2)
    drawn = [
        probability_of_improvement(
            first[rng.integers(8, size=(8, 2)), columns], second[rng.integers(6, size=(6, 2)), columns]
        )
        for _ in range(1500)
    ]
    expected = tuple(np.quantile(drawn, [0.025, 0.975]))
    assert improvement_interval(first, second, resamples=4000) == pytest.approx(expected, abs=0.02)


def test_the_interval_of_a_difference_agrees_with_scipys():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 1, size=30), rng.normal(size=20)

    def difference(one, other, axis=-1):
        return np.median(one, axis=axis) - np.median(other, axis=axis)

    theirs = stats.bootstrap((first, second), difference, method="percentile", rng=np.random.default_rng(1))
    assert difference_interval(first, second) == pytest.approx(tuple(theirs.confidence_interval), abs=0.06)


def test_the_interval_of_a_curve_is_that_of_each_point():
    curves = np.random.default_rng(0).normal(size=(10, 3)).cumsum(axis=1)
    mean, low, high = curve_interval(curves, resamples=4000)
    for n in range(3):
        assert mean[n] == pytest.approx(interquartile_mean(curves[:, [n]]))
        assert (low[n], high[n]) == pytest.approx(bootstrap_interval(curves[:, [n]], resamples=4000), abs=0.15)


def test_performance_profiles_by_hand():
    scores = np.array([[0.0, 0.5], [1.0, 0.9]])
    assert performance_profile(scores, [-1, 0, 0.5, 0.95]).tolist() == [1, 0.75, 0.5, 0.25]


def test_they_agree_with_rliable_where_it_imports():
    library = pytest.importorskip("rliable.library")
    metrics = pytest.importorskip("rliable.metrics")
    scores = np.random.default_rng(0).normal(size=(10, 5))
    assert interquartile_mean(scores) == pytest.approx(metrics.aggregate_iqm(scores))
    other = np.random.default_rng(1).normal(size=(10, 5))
    assert probability_of_improvement(scores, other) == pytest.approx(
        metrics.probability_of_improvement(scores, other), abs=1e-12
    )
    assert library is not None


@pytest.mark.parametrize(
    ("scores", "words"),
    [([1.0, 2.0], "expected"), ([[]], "expected"), ([[np.nan, 1.0]], "a run is missing or has failed")],
)
def test_matrices_that_are_none(scores, words):
    with pytest.raises(ValueError, match=words):
        interquartile_mean(np.array(scores))


def test_methods_on_other_problems_are_refused():
    with pytest.raises(ValueError, match="on 2 and 3 problems"):
        probability_of_improvement(np.zeros((2, 2)), np.zeros((2, 3)))
