from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_gym.devices import Operation
from compress_gym.devices.energy import KIND_CODES, analytic_energy_mj, mac_pj, operation_numbers
from compress_gym.networks.network import LAYER_KINDS

CONV = Operation("conv", 4, 8, 3, 1, 1, 6, 5, 8, 8)


def test_one_multiply_accumulate():
    assert mac_pj(32, 32) == mac_pj(8, 32) == pytest.approx(4.6)
    assert mac_pj(16, 16) == pytest.approx(1.5)
    assert mac_pj(8, 8) == pytest.approx(0.3)
    assert mac_pj(4, 2) == pytest.approx(0.2 / 8 + 0.1)


def test_a_convolution_by_hand():
    weights, pixels = 8 * 4 * 9, 6 * 5
    macs = weights * pixels
    on_chip = macs * 2 / 16 * 2.5
    dram = (weights + 4 * 30 + 8 * 30) * 162.5
    assert analytic_energy_mj(CONV) == pytest.approx((macs * 0.3 + on_chip + dram) * 1e-9)


def test_a_strided_depthwise_layer_by_hand():
    macs = 4 * 9 * 3 * 3
    dram = (4 * 9 * 4 + (4 * 36 + 4 * 9) * 6) / 8 * 162.5
    expected = macs * (0.2 * 24 / 64 + 0.1) + macs * 10 / 8 / 16 * 2.5 + dram
    layer = Operation("depthwise", 4, 4, 3, 2, 4, 6, 6, 4, 6)
    assert analytic_energy_mj(layer) == pytest.approx(expected * 1e-9)


def test_a_linear_layer_reads_everything_that_was_flattened():
    flat = Operation("linear", 4 * 6, 10, weight_bits=8, activation_bits=8)
    assert analytic_energy_mj(Operation("linear", 4, 10, 1, 1, 1, 3, 2, 8, 8)) == analytic_energy_mj(flat)


def test_layers_without_weights_cost_their_traffic():
    add, pool = Operation("add", 8, 8, 1, 1, 1, 4, 4), Operation("pool", 8, 8, 1, 1, 1, 4, 4)
    per_value = 4 * (162.5 + 2.5) * 1e-9
    assert analytic_energy_mj(add) == pytest.approx(3 * 8 * 16 * per_value)
    assert analytic_energy_mj(pool) == pytest.approx((8 * 16 + 8) * per_value)
    assert analytic_energy_mj(Operation("concat", 8, 8, 1, 1, 1, 4, 4)) == 0
    assert analytic_energy_mj(Operation("call", 1, 1)) == 0


def test_every_kind_has_a_cost():
    assert set(KIND_CODES) == {*LAYER_KINDS, "call", "quantize", "dequantize"}


@pytest.mark.parametrize(("name", "value"), [("weight_bits", 0), ("weight_bits", 33), ("activation_bits", 64)])
def test_bits_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value} .*between 1 and 32"):
        analytic_energy_mj(replace(CONV, **{name: value}))


def test_unknown_kinds_and_groups_are_refused():
    with pytest.raises(ValueError, match="kind='attention' is not one of"):
        analytic_energy_mj(Operation("attention", 4, 4))
    with pytest.raises(ValueError, match="groups=3 must divide"):
        operation_numbers(replace(CONV, groups=3))


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 31), st.integers(1, 31), st.integers(1, 8))
def test_more_bits_channels_or_inputs_cost_more(inputs, outputs, wb, ab, batch):
    layer = Operation("conv", inputs, outputs, 3, 1, 1, 8, 8, wb, ab, batch)
    for name in ("in_channels", "out_channels", "weight_bits", "activation_bits", "batch"):
        assert analytic_energy_mj(replace(layer, **{name: getattr(layer, name) + 1})) > analytic_energy_mj(layer)
