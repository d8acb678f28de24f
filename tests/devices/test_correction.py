from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress_gym.devices import Device, Measurement, Operation
from compress_gym.devices.correction import Correction, MixedCorrection, activation_kib
from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.devices.operations import BOUNDARIES, CALL, layout_of
from compress_gym.kinds import get_case
from compress_gym.making.profile.correction import errors, features, fit
from compress_gym.making.profile.networks import evaluate
from compress_gym.making.profile.plan import ProfilePlan, decisions_of, operations_of, reachable_operations
from compress_gym.tasks import get_task

CASE = get_case("ChannelPrune-v0", "digits-cnn")
TASK, NETWORK, DECISIONS = CASE.task, CASE.task.network(), CASE.decisions()
PLAN = ProfilePlan(fit_networks=28, rounds=8)
TRUE = Correction(network_us=12.0, weighted=0.8, other=0.5, layout=0.6, weight_kib=0.3, activation_kib=0.2)


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


def as_visited(*fastest):
    """Fastest calls, with medians and 10th percentiles above them, `[N, 3]`."""
    return np.concatenate(fastest)[:, None] * [1.0, 2.0, 1.5]


def test_planted_coefficients_are_found():
    _, lookup, networks, measured = planted()
    found = fit(features(networks, lookup, True), measured)
    for name, value in TRUE.to_json().items():
        assert getattr(found, name) == pytest.approx(value, rel=0.02), name


def test_of_few_networks_fewer_coefficients_are_fitted():
    _, lookup, networks, measured = planted()
    found = fit(features(networks[:19], lookup, True), measured[:19])
    assert found.weight_kib == found.activation_kib == 0 and found.weighted > 0


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
    parts = np.array([[12.0, 10.0, 0, 0, 0], [9.0, 20.0, 0, 0, 0], [14.0, 30.0, 0, 0, 0], [11.0, 40.0, 0, 0, 0]])
    measured = 20 + parts[:, 1] - 0.5 * parts[:, 0]  # the slower the weighted ones, the faster the network
    found = fit(parts, measured)
    assert found.weighted == found.other == pytest.approx(1.0, abs=0.1)


def test_networks_that_are_faster_with_slower_operations_are_refused():
    parts = np.array([[10.0, 1.0, 2.0, 0, 0], [20.0, 1.0, 4.0, 0, 0], [30.0, 2.0, 6.0, 0, 0]])
    with pytest.raises(ValueError, match="latencies of the 3 whole networks do not grow .* idle machine"):
        fit(parts, np.array([30.0, 20.0, 10.0]))


def test_the_profilers_evaluation_on_planted_samples():
    operations, lookup, networks, measured = planted()
    times = as_visited([lookup[o] for o in operations], measured)
    table, correction, error = evaluate(operations, {"digits-cnn": networks}, times, PLAN, True)
    assert table[CALL] == Measurement(10.0, 7.5, 96, 5.0) and table[CALL].us == 5.0
    assert error["median_absolute_error"] < 0.002 and error["kendall_tau"] > 0.99
    assert error["checked_on"].startswith("50 whole networks") and correction.weighted == pytest.approx(0.8, rel=0.03)


def test_errors_by_hand():
    facts = errors(np.array([1.1, 2.0, 2.7]), np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    assert facts["median_absolute_error"] == pytest.approx(0.1) and facts["kendall_tau"] == 1.0
    assert facts["uncorrected_sum_over_measured"] == 2.0


def test_of_several_tasks_the_worst_is_stated():
    operations, lookup, networks, measured = planted()
    times = as_visited([lookup[o] for o in operations], measured, 1.02 * measured)
    _, _, error = evaluate(operations, {"one": networks, "other": networks}, times, PLAN, True)
    assert set(error["tasks"]) == {"one", "other"} and error["checked_on"].startswith(
        "50 whole networks of each of 2 tasks,"
    )
    for key in ("median_absolute_error", "p95_absolute_error"):
        assert error[key] == max(facts[key] for facts in error["tasks"].values()) > 0
    assert error["kendall_tau"] == min(facts["kendall_tau"] for facts in error["tasks"].values())


MIXED = ProfilePlan(precision="mixed", fit_networks=48, rounds=8)
TRUE_MIXED = MixedCorrection(
    12.0,
    0.8,
    0.5,
    0.6,
    0.2,
    0.1,
    weighted8=0.7,
    other8=0.4,
    layout8=0.3,
    weight_kib8=0.5,
    activation_kib8=0.3,
    boundary=1.2,
)


def planted_mixed(task):
    """Times of operations of both precisions such that a known correction holds for whole networks."""
    rng, network, decisions = np.random.default_rng(0), task.network(), decisions_of(task, MIXED)
    operations = reachable_operations(network, get_case("ChannelPrune-v0", task).decisions(), MIXED, with_layout=True)
    lookup = {o: 5.0 + 40.0 * rng.random() + 0.1 * o.out_channels for o in operations} | {CALL: 5.0}
    for o in operations:
        if o.kind == "layout":
            lookup[o] = 5.0 + (0.02 + 0.03 * rng.random()) * o.in_channels
    strategies = rng.integers(decisions.sizes, size=(100, len(decisions)))
    networks = [operations_of(network, decisions, s, MIXED) for s in strategies]
    measured = np.array([TRUE_MIXED.network_us + sum(TRUE_MIXED.operation_us(o, lookup) for o in n) for n in networks])
    return operations, lookup, strategies, networks, measured


def test_planted_coefficients_of_two_precisions_are_found():
    operations, lookup, _, networks, measured = planted_mixed(TASK)
    assert {(o.weight_bits, o.kind in BOUNDARIES) for o in operations} == {(32, False), (8, False), (32, True)}
    times = as_visited([lookup[o] for o in operations], measured)
    _, found, error = evaluate(operations, {"digits-cnn": networks}, times, MIXED, True)
    assert isinstance(found, MixedCorrection)
    for name in ("weighted", "weighted8", "boundary"):
        assert found.to_json()[name] == pytest.approx(TRUE_MIXED.to_json()[name], rel=0.05), name
    assert error["median_absolute_error"] < 0.002 and error["kendall_tau"] > 0.99


@pytest.mark.parametrize("name", ["digits-cnn", "cifar10-resnet20"])
def test_an_environment_counts_what_the_profiler_counts(name):
    """Cost terms of channels and precisions: the same operations and conversions as in the networks measured."""
    task = get_task(name)
    operations, lookup, strategies, _, measured = planted_mixed(task)
    table = {o: Measurement(lookup[o], lookup[o], 1) for o in operations}
    device = Device("mixed", "cpu", table, TRUE_MIXED)
    assert device.bit_values is not None and device.bit_values.paired and device.bit_values.values == (8, 32)
    terms = network_cost_terms(task.network(), decisions_of(task, MIXED), device)
    assert terms.evaluate(strategies)[:, terms.column("latency_ms")] == pytest.approx(measured / 1000)


def test_layout_changes_have_the_shapes_of_input_and_output():
    before, after = layout_of(Operation("conv", 8, 24, 3, 2, 1, 15, 15, 8, 8, 4))
    assert before == Operation("layout", 8, 8, 1, 1, 1, 15, 15, 8, 8, 4)
    assert after == replace(before, in_channels=24, out_channels=24, in_height=8, in_width=8)


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        (Operation("conv", 4, 8, 3, 2, 1, 6, 6), 4 * 36 + 8 * 9),
        (Operation("add", 8, 8, in_height=4, in_width=4), 3 * 8 * 16),
        (Operation("pool", 64, 64, in_height=8, in_width=8), 64 * 64 + 64),
        (Operation("linear", 8, 10, in_height=4, in_width=4), 8 * 16 + 10),
        (Operation("max-pool", 8, 8, 2, 2, 1, 8, 8), 8 * 64 + 8 * 16),
        (Operation("concat", 8, 8, in_height=4, in_width=4), 2 * 8 * 16),
    ],
)
def test_activations_that_enter_and_leave(operation, values):
    assert activation_kib(replace(operation, batch=3)) == pytest.approx(3 * values * 4 / 1024)
    assert activation_kib(replace(operation, weight_bits=8, activation_bits=8)) == pytest.approx(values / 1024)
