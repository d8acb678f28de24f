from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress_gym.devices import Measurement, Operation
from compress_gym.devices.correction import Correction, errors, features, fit
from compress_gym.devices.operations import CALL, layout_of
from compress_gym.devices.profiler import Plan, evaluate, operations_of, reachable_operations
from compress_gym.tasks import get_task

TASK = get_task("digits-cnn")
NETWORK, DECISIONS, PLAN = TASK.network(), TASK.channel_decisions(), Plan("digits-cnn", fit_networks=28)
TRUE = Correction(network_us=12.0, weighted=0.8, other=0.5, layout=0.6)


def planted():
    """Times of every operation such that a known correction holds for whole networks."""
    rng = np.random.default_rng(0)
    operations = reachable_operations(NETWORK, DECISIONS, PLAN, with_layout=True)
    lookup = {o: 5.0 + 40.0 * rng.random() + 0.1 * o.out_channels for o in operations} | {CALL: 5.0}
    for o in operations:
        if o.kind == "layout":
            lookup[o] = 5.0 + 0.05 * o.in_channels
    strategies = rng.integers(DECISIONS.sizes, size=(80, len(DECISIONS)))
    networks = [operations_of(NETWORK, DECISIONS, s, PLAN) for s in strategies]
    measured = np.array([TRUE.network_us + sum(TRUE.operation_us(o, lookup) for o in n) for n in networks])
    return operations, lookup, networks, measured


def test_planted_coefficients_are_found():
    _, lookup, networks, measured = planted()
    found = fit(features(networks, lookup, True), measured)
    for name, value in TRUE.to_json().items():
        assert getattr(found, name) == pytest.approx(value, rel=0.02), name


def test_without_layout_changes_nothing_is_taken_off():
    _, lookup, networks, measured = planted()
    assert fit(features(networks, lookup, False), measured).layout == 0.0


def test_coefficients_are_never_negative_nor_is_an_operation():
    _, lookup, networks, measured = planted()
    found = fit(features(networks, lookup, True), measured - 11.9 + 0.1 * np.arange(len(measured)) % 3)
    assert min(found.to_json().values()) >= 0
    conv = Operation("conv", 4, 4, 3, 1, 1, 8, 8)
    lookup = {CALL: 1.0, conv: 1.5, **dict.fromkeys(layout_of(conv), 9.0)}
    assert Correction(0.0, 1.0, 1.0, 1.0).operation_us(conv, lookup) == 0.0


def test_networks_that_do_not_tell_operations_apart_share_one_scale():
    parts = np.array([[12.0, 10.0, 0.0], [9.0, 20.0, 0.0], [14.0, 30.0, 0.0], [11.0, 40.0, 0.0]])
    measured = 20 + parts[:, 1] - 0.5 * parts[:, 0]  # the slower the weighted ones, the faster the network
    found = fit(parts, measured)
    assert found.weighted == found.other == pytest.approx(1.0, abs=0.1)


def test_networks_that_are_faster_with_slower_operations_are_refused():
    parts = np.array([[10.0, 1.0, 2.0], [20.0, 1.0, 4.0], [30.0, 2.0, 6.0]])
    with pytest.raises(ValueError, match="latencies of the 3 whole networks do not grow .* idle machine"):
        fit(parts, np.array([30.0, 20.0, 10.0]))


def test_the_profilers_evaluation_on_planted_samples():
    operations, lookup, networks, measured = planted()
    times = np.concatenate([[lookup[o] for o in operations], measured])
    table, correction, error = evaluate(operations, networks, times, times, 96, PLAN, True)
    assert table[CALL] == Measurement(5.0, 5.0, 96)
    assert error["median_absolute_error"] < 0.002 and error["kendall_tau"] > 0.99
    assert error["checked_on"].startswith("50 whole networks") and correction.weighted == pytest.approx(0.8, rel=0.03)


def test_errors_by_hand():
    facts = errors(np.array([1.1, 2.0, 2.7]), np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    assert facts["median_absolute_error"] == pytest.approx(0.1) and facts["kendall_tau"] == 1.0
    assert facts["uncorrected_sum_over_measured"] == 2.0


def test_layout_changes_have_the_shapes_of_input_and_output():
    before, after = layout_of(Operation("conv", 8, 24, 3, 2, 1, 15, 15, 8, 8, 4))
    assert before == Operation("layout", 8, 8, 1, 1, 1, 15, 15, 8, 8, 4)
    assert after == replace(before, in_channels=24, out_channels=24, in_height=8, in_width=8)
