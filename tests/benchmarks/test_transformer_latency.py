from __future__ import annotations

import numpy as np
import pytest

from benchmarks.transformer_latency import check, visits_ms
from compress_gym.devices.transformer_latency import architecture_features, load_transformer_device
from compress_gym.translation.profile import LENGTHS, Plan
from compress_gym.translation.tasks import get_translation_task

TASK, DEVICE = get_translation_task("multi30k-ende"), load_transformer_device("epyc-torch-fp32")


def test_a_device_that_is_right_on_a_machine_of_another_speed():
    architectures = Plan(fitted=2, checked=20).architectures(TASK)
    true = DEVICE.latency_ms(np.stack([architecture_features(a) for a in architectures])).T
    disturbed = 1 + np.random.default_rng(0).random((*true.shape, 12)) * (np.arange(12) % 3 > 0)
    stated = check(DEVICE, architectures, true[..., None] * 2 * disturbed)
    for metric in LENGTHS:
        assert stated[metric]["kendall_tau"] == 1.0 and stated[metric]["median_absolute_error"] == 0.0
        assert stated[metric]["predicted_over_measured"] == 0.5
        assert stated[metric]["two_halves_of_the_visits"] == {"kendall_tau": 1.0, "median_absolute_difference": 0.0}
    wrong = check(DEVICE, architectures, true[:, ::-1, None] * disturbed)
    assert all(wrong[metric]["kendall_tau"] < 0.5 for metric in LENGTHS)


def test_larger_transformers_take_longer():
    architectures = Plan(fitted=2, checked=1).architectures(TASK)[:2]  # the largest and the smallest
    visits = visits_ms(TASK, architectures, rounds=2, repetitions=1)
    assert visits.shape == (2, 2, 2) and (visits > 0).all()
    assert (visits.min(axis=2)[:, 0] > visits.min(axis=2)[:, 1]).all()


def test_the_shipped_device_names_its_plan():
    assert Plan(**DEVICE.card["plan"]).checked == 100
    with pytest.raises(TypeError):
        Plan(**{**DEVICE.card["plan"], "other": 1})
