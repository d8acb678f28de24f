"""Costs of bits, by hand; and what it costs to change precision between layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress_gym.devices import Device, Measurement, Operation, load_device
from compress_gym.devices.correction import Correction
from compress_gym.devices.costs.boundaries import boundaries
from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.devices.operations import CALL, operation_of
from compress_gym.kinds import get_case
from compress_gym.networks.trace import trace
from compress_gym.problem.network_decisions import BitValues, bit_decisions, joint_decisions
from compress_gym.tasks import get_task
from tests.helpers import two_precisions

NETWORK = get_task("digits-cnn").network()
BITS = BitValues((2, 4, 8))


def costs_of(terms, row):
    return dict(zip(terms.metrics, terms.evaluate(np.array([row]))[0].tolist(), strict=True))


def test_sizes_bit_operations_and_energy_by_hand():
    """digits-cnn: convolutions 1-32-32-64-64-64 at 16, 16, 8, 8, 4 pixels, the linear layer at 8 bits."""
    decisions = bit_decisions(NETWORK, BITS, fixed=("fc",))
    weights = np.array([32 * 9, 32 * 32 * 9, 32 * 64 * 9, 64 * 64 * 9, 64 * 64 * 9])
    pixels = np.array([256, 256, 64, 64, 16])
    row = np.array([0, 2, 1, 0, 2, 2, 0, 0, 1, 1])
    w, a = np.array(BITS.values)[row[0::2]], np.array(BITS.values)[row[1::2]]
    terms = network_cost_terms(NETWORK, decisions, load_device("bismo-edge"))
    found = costs_of(terms, row)
    norms = 2 * (32 + 32 + 64 + 64 + 64)
    assert found["macs"] == (weights * pixels).sum() + 640
    assert found["params"] == weights.sum() + norms + 650
    assert found["size_bytes"] == (weights * w / 8).sum() + 640 + 4 * (norms + 10)
    assert found["bops"] == (weights * pixels * w * a).sum() + 640 * 64
    device = load_device("bismo-edge")
    bits = {f"conv{n + 1}": (w[n], a[n]) for n in range(5)}
    operations = [
        operation_of(x, x.in_channels, x.out_channels, *map(int, bits.get(x.name, (8, 8)))) for x in NETWORK.layers
    ]
    assert found["latency_ms"] == pytest.approx(sum(device.latency_us(o) for o in operations) / 1000, rel=1e-12)
    assert found["energy_mj"] == pytest.approx(sum(device.energy_mj(o) for o in operations), rel=1e-12)


def test_channels_and_bits_together_by_hand():
    decisions = joint_decisions(NETWORK, BITS, fixed=("fc",))
    values = {**{d.name: d.values[-1] for d in decisions.decisions}}
    values |= {"conv1.channels": 8, "conv2.channels": 12, "conv2.weight_bits": 2, "conv2.activation_bits": 4}
    found = costs_of(network_cost_terms(NETWORK, decisions), decisions.encode(values))
    weights = np.array([8 * 9, 8 * 12 * 9, 12 * 64 * 9, 64 * 64 * 9, 64 * 64 * 9])
    pixels, w, a = np.array([256, 256, 64, 64, 16]), np.array([8, 2, 8, 8, 8]), np.array([8, 4, 8, 8, 8])
    assert found["bops"] == (weights * pixels * w * a).sum() + 640 * 64
    assert found["size_bytes"] == (weights * w / 8).sum() + 640 + 4 * (2 * (8 + 12 + 64 * 3) + 10)


def test_channels_alone_are_in_full_precision():
    decisions = get_case("ChannelPrune", "digits-cnn").decisions()
    terms = network_cost_terms(NETWORK, decisions)
    found = costs_of(terms, decisions.uncompressed)
    assert found["size_bytes"] == 4 * found["params"] and found["bops"] == 1024 * found["macs"]


def test_precisions_pay_where_they_change():
    """Every operation takes 1 us in fp32 and 0.5 us in 8 bits; to bytes costs 10 us, from bytes 100 us."""
    device = two_precisions(NETWORK)
    decisions = bit_decisions(NETWORK, device.bit_values, fixed=())
    terms = network_cost_terms(NETWORK, decisions, device)

    def us(**chosen):
        values = {f"{d.subject}.precision": chosen.get(d.subject, 32) for d in decisions.decisions}
        return costs_of(terms, decisions.encode(values))["latency_ms"] * 1000

    assert us() == pytest.approx(7.0)
    assert us(conv2=8) == pytest.approx(6 + 0.5 + 10 + 100)
    assert us(conv2=8, conv3=8) == pytest.approx(5 + 1.0 + 10 + 100)
    assert us(conv2=8, conv4=8) == pytest.approx(5 + 1.0 + 2 * 10 + 2 * 100)
    # the pooling has the precision of conv5, and logits are floats
    assert us(conv5=8) == pytest.approx(5 + 1.0 + 10 + 100)
    assert us(fc=8) == pytest.approx(6 + 0.5 + 10 + 100)
    assert us(**{d.subject: 8 for d in decisions.decisions}) == pytest.approx(3.5 + 10 + 100)


def test_terms_of_an_equal_device_are_built_once():
    devices = [two_precisions(NETWORK), two_precisions(NETWORK), two_precisions(NETWORK, per_channel=True)]
    decisions = bit_decisions(NETWORK, devices[0].bit_values, fixed=())
    first, second, other = (network_cost_terms(NETWORK, decisions, device) for device in devices)
    assert first is second
    assert other is not first and not np.array_equal(other.tables, first.tables)


def test_boundaries_follow_the_channels():
    device = two_precisions(NETWORK, per_channel=True)
    decisions = joint_decisions(NETWORK, device.bit_values, fixed=())
    terms = network_cost_terms(NETWORK, decisions, device)
    values = {d.name: d.values[-1] for d in decisions.decisions} | {"conv2.precision": 8}
    costs = [costs_of(terms, decisions.encode(values | {"conv1.channels": n}))["latency_ms"] * 1000 for n in (32, 8)]
    assert costs[0] - costs[1] == pytest.approx(24 * 10)


class Branches(nn.Module):
    """Two convolutions read the image, a third their concatenation, and a sum what the first and third make."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.c, self.fc = nn.Conv2d(12, 4, 3, padding=1), nn.Linear(4, 10)

    def forward(self, x):
        first = torch.relu(self.a(x))
        joined = torch.relu(self.c(torch.cat([first, self.b(x)], 1)))
        return self.fc((joined + first).mean((2, 3)))


def test_a_tensor_is_converted_once_for_all_that_read_it():
    network = trace(Branches(), (3, 8, 8), "branches")
    found = {boundary.tensor: boundary for boundary in boundaries(network)}
    # the concatenation has the precision of what is made last of it, the sum that of the third convolution
    assert {name: boundary.readers for name, boundary in found.items()} == {
        "input": ("a", "b"),
        "a": ("b", "c"),
        "cat": ("c",),
        "mean": ("fc",),
        "fc": (None,),
    }
    chosen = {(name, "precision"): 32 for name in ("a", "b", "c", "fc")}
    assert all(boundary.operation(chosen, 1) is None for boundary in found.values())
    chosen |= {("a", "precision"): 8, ("c", "precision"): 8}
    made = {name: boundary.operation(chosen, 2) for name, boundary in found.items()}
    side = {"in_height": 8, "in_width": 8, "batch": 2}
    assert made == {
        "input": Operation("quantize", 3, 3, **side),
        "a": Operation("dequantize", 4, 4, **side),
        "cat": Operation("quantize", 12, 12, **side),
        "mean": Operation("dequantize", 4, 4, batch=2),
        "fc": None,
    }


def test_conversions_between_measured_counts_are_counted():
    device = two_precisions(NETWORK, per_channel=True)
    decisions = joint_decisions(NETWORK, device.bit_values, fixed=())
    assert not network_cost_terms(NETWORK, decisions, device).estimated
    counts = {o.in_channels for o in device.table if o.kind == "quantize" and o.in_height == 16}
    missing = sorted(counts)[len(counts) // 2]
    table = {o: m for o, m in device.table.items() if not (o.kind == "quantize" and o.in_channels == missing)}
    holed = Device("holed", "cpu", table, device.correction)
    assert network_cost_terms(NETWORK, decisions, holed).estimated["interpolated"] > 0
    without = {o: m for o, m in table.items() if o.kind != "quantize"}
    with pytest.raises(ValueError, match="what layer 'input' makes, converted: device='none' has no measurement"):
        network_cost_terms(NETWORK, decisions, Device("none", "cpu", without, device.correction))


def test_an_operation_that_is_missing_in_8_bits_is_named():
    device = two_precisions(NETWORK)
    table = {o: m for o, m in device.table.items() if not (o.kind == "linear" and o.weight_bits == 8)}
    device = Device("own", "cpu", table, device.correction)
    assert device.bit_values == BitValues((8, 32), paired=True)
    with pytest.raises(ValueError, match="layer 'fc': device='own' has no measurement of linear 64->10.*W8A8"):
        network_cost_terms(NETWORK, bit_decisions(NETWORK, device.bit_values, fixed=()), device)


def test_energy_of_a_conversion_is_its_traffic():
    device = load_device("epyc-milan-ort-mixed")
    moved = device.energy_mj(Operation("quantize", 16, 16, in_height=8, in_width=8))
    plain = device.energy_mj(Operation("batch-norm", 16, 16, in_height=8, in_width=8))
    assert moved == pytest.approx(plain * (32 + 8) / (32 + 32)) and moved > 0


def test_what_devices_offer():
    assert load_device("bitfusion").bit_values == BitValues((2, 4, 8))
    assert load_device("bismo-edge").bit_values == BitValues((2, 3, 4, 5, 6, 7, 8))
    assert load_device("xeon-ort-fp32").bit_values is None
    once = Measurement(1.0, 1.0, 1)
    table = {Operation("conv", 8, 8, weight_bits=w, activation_bits=a): once for w in (4, 8) for a in (4, 8)}
    assert Device("own", "cpu", {CALL: once, **table}, Correction(0, 1, 1)).bit_values == BitValues((4, 8))
