from __future__ import annotations

import time

import numpy as np
import pytest

from compress_gym.making.profile.networks import times_of
from compress_gym.making.profile.timing import agreement, sample_us
from compress_gym.support.statistics import kendall_tau

TRUE = np.array([12.0, 30.0, 31.0, 90.0, 300.0])


def visits(count, quiet=0.3, noise=0.0, seed=0):
    """The fastest calls of visits to a machine that is often disturbed, up to three times as slow."""
    rng = np.random.default_rng(seed)
    disturbed = rng.random((len(TRUE), count)) > quiet
    slow = np.where(disturbed, 1 + 2 * rng.random(disturbed.shape), 1.0)
    return TRUE[:, None] * slow * (1 + noise * rng.random(disturbed.shape))


def test_a_disturbed_machine_does_not_change_the_fastest_calls():
    fastest, median, p10 = times_of(visits(40)).T
    assert fastest == pytest.approx(TRUE) and p10 == pytest.approx(TRUE)
    assert (median > 1.1 * TRUE).all()


def test_halves_that_agree_and_halves_that_do_not():
    assert agreement(visits(40)) == {"kendall_tau": 1.0, "median_absolute_difference": 0.0}
    assert agreement(visits(4, noise=0.5))["median_absolute_difference"] > 0.02


def test_calls_are_timed_after_a_warm_up():
    calls = []
    times = sample_us(lambda: (calls.append(len(calls)), time.sleep(0.001)), 4)
    assert len(calls) == 3 + 4 and len(times) == 4 and (times >= 1000).all()


def test_kendall_tau_by_hand():
    assert kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])) == pytest.approx(1 / 3)
    assert kendall_tau(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.0
