from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress_gym.devices import Operation
from compress_gym.devices.energy import operation_numbers
from compress_gym.devices.simulators import BISMO_PRESETS, BitFusion, bismo_cost, bitfusion_cost

PUBLISHED = Path(__file__).parents[2] / ".." / "shared" / "published"
FUSION, EDGE, CLOUD = BitFusion(), BISMO_PRESETS["edge"], BISMO_PRESETS["cloud"]
POINTWISE = Operation("conv", 16, 96, 1, 1, 1, 112, 112, 4, 4)
DEPTHWISE = Operation("depthwise", 488, 488, 3, 1, 488, 14, 14, 8, 8)


def up(a, b):
    return -(-a // b)


def tiles(size, start=1):
    sizes = [min(start, size)]
    while sizes[-1] < size:
        sizes.append(min(2 * sizes[-1], size))
    return sizes


def plain_bitfusion_us(o, device=FUSION):
    """A transcription without numba or shortcuts: every order of five loops, every tiling, every fused width."""
    _, ci, co, k, s, groups, h, w, wb, ab, batch = operation_numbers(o)
    oh, ow = ((side + 2 * (k // 2) - k) // s + 1 for side in (h, w))
    widths = (2, 4, 8, 16)
    best = math.inf
    for fw, fa in product([x for x in widths if x >= wb], [x for x in widths if x >= ab]):
        engines = (8 / fw) * (8 / fa)
        packed = 1 if groups == 1 else max(1, min(groups, int(8 * max(1, engines)) // (ci // groups)))
        inputs, outputs, passes = ci // groups * packed, co // groups * packed, up(groups, packed)
        lanes = int(16 * max(1, engines))
        while lanes > 1 and lanes * k * k * 32 * fw > 4 * device.weight_bytes:
            lanes //= 2
        shapes = product(tiles(batch), tiles(max(oh, ow)), tiles(inputs), tiles(outputs, 32))
        for b, side, ic, oc in shapes:
            th, tw = min(side, oh), min(side, ow)
            counts = dict(b=up(batch, b), x=up(ow, tw), y=up(oh, th), i=up(inputs, ic), o=up(outputs, oc))
            seen, px = b * (k + (th - 1) * s) * (k + (tw - 1) * s), b * th * tw
            ip, op = up(ic, lanes) * lanes, up(oc, 32) * 32
            moved = dict(w=k * k * ic * oc * wb, a=seen * ic * ab, s=px * oc * 32)
            held = dict(w=k * k * ip * op * fw, a=seen * ip * fa, s=px * op * 32)
            room = dict(w=4 * device.weight_bytes, a=4 * device.input_bytes, s=4 * device.output_bytes)
            if any(held[t] > room[t] for t in held):
                continue
            steps = math.prod(counts.values()) * px * k * k * up(ic, lanes) * up(oc, 32)
            computing = math.ceil(steps * max(1, 1 / engines))
            for order in permutations("bxyio"):
                total, once = {}, {}
                for t, loops in dict(w="io", a="bxyi", s="bxyo").items():
                    amount, size, kept, fits = moved[t], held[t], moved[t], True
                    for loop in reversed(order):
                        if loop in loops or not fits:
                            amount *= counts[loop]
                            if fits:
                                size *= counts[loop]
                                fits = size <= room[t]
                                kept = amount if fits else kept
                    total[t], once[t] = amount, kept
                first, last = sum(once.values()), once["s"]
                during = sum(total.values()) + total["s"] - first - last
                cycles = max(computing, math.ceil(during / 192)) + math.ceil(first / 192) + math.ceil(last / 192)
                best = min(best, passes * cycles)
    return best / device.frequency_mhz


def plain_bismo_us(o, device):
    code, ci, co, k, s, groups, h, w, wb, ab, batch = operation_numbers(o)
    oh, ow = ((side + 2 * (k // 2) - k) // s + 1 for side in (h, w))
    window, outputs = ci // groups * k * k, co // groups
    packed = max(1, min(groups, device.depth // window, device.rows // outputs))
    words = up(window * packed, device.depth)
    binary = up(outputs * packed, device.rows) * up(oh * ow, device.columns) * words
    weights, inputs = outputs * packed * words * device.depth * wb, oh * ow * words * device.depth * ab
    room = device.buffer_bits / 4
    fetch = min(
        max(weights, inputs * math.ceil(weights / room)),
        max(inputs, weights * math.ceil(inputs / room)),
    )
    cycles = max(binary * wb * ab, math.ceil(max(fetch, oh * ow * outputs * packed * ab) / device.port_bits))
    return batch * up(groups, packed) * cycles / device.frequency_mhz


def test_a_pointwise_layer_that_waits_for_memory_by_hand():
    """All fits but the outputs: every tensor moves once, outputs in and out at 32 bits, 192 bits a cycle at 500 MHz."""
    bits = 16 * 112 * 112 * 4 + 16 * 96 * 4 + 2 * 96 * 112 * 112 * 32
    assert FUSION.cost(POINTWISE)[0] == pytest.approx(bits / 192 / 500, rel=1e-5)


def test_a_depthwise_layer_that_waits_for_the_array_by_hand():
    """61 dense blocks of 8 channels: one step a window position, besides what fills and drains the buffers."""
    latency_us = FUSION.cost(DEPTHWISE)[0]
    assert latency_us * 500 / 61 == pytest.approx(14 * 14 * 9, rel=0.06)
    assert latency_us * 500 / 61 > 14 * 14 * 9


def test_bit_fusion_is_faster_in_steps_of_powers_of_two():
    """Computing bounds this layer: 1 x 1 output tiles, 3 x 3 windows, 8 x 8 bits take one engine each."""
    layer = Operation("conv", 256, 256, 3, 1, 1, 28, 28, 8, 8)
    steps = 28 * 28 * 9 * 8
    for wb, ab, engines in ((8, 8, 1), (6, 8, 1), (4, 8, 2), (4, 4, 4), (16, 8, 0.5), (16, 16, 0.25)):
        latency_us, _ = FUSION.cost(replace(layer, weight_bits=wb, activation_bits=ab))
        assert latency_us * 500 == pytest.approx(steps * 256 / 16 / engines, rel=0.2)


def test_energy_of_a_waiting_layer_is_dram_and_leakage():
    latency_us, energy_mj = FUSION.cost(POINTWISE)
    dram = (16 * 112 * 112 * 4 + 16 * 96 * 4 + 2 * 96 * 112 * 112 * 32) * 15e-9
    leakage = latency_us * 500 * FUSION.leakage_pj * 1e-9
    assert energy_mj > dram + leakage
    assert energy_mj == pytest.approx(dram + leakage, rel=0.03)


def test_bismo_by_hand():
    """6 rows of blocks, 8 x 7 pixels in 7 columns of 8, one word; w * a binary products at 200 MHz."""
    layer = Operation("conv", 16, 48, 3, 1, 1, 8, 7, 8, 7)
    assert EDGE.cost(layer)[0] == pytest.approx(8 * 7 * 6 * 7 * 1 / 200)
    assert EDGE.cost(replace(layer, batch=4))[0] == pytest.approx(4 * 8 * 7 * 6 * 7 / 200)


def test_bismo_waits_for_the_weights_of_a_linear_layer():
    layer = Operation("linear", 1280, 1000, weight_bits=4, activation_bits=4)
    assert CLOUD.cost(layer)[0] == pytest.approx(1000 * 1280 * 4 / 256 / 200)
    assert CLOUD.cost(replace(layer, batch=16))[0] == CLOUD.cost(layer)[0]


small = st.builds(
    lambda kind, ci, co, k, s, side, width, batch: Operation(
        kind, ci, ci if kind == "depthwise" else co, k, s, ci if kind == "depthwise" else 1, side, width, 8, 8, batch
    ),
    st.sampled_from(["conv", "depthwise"]),
    st.integers(1, 40),
    st.integers(1, 70),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 2]),
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from([1, 1, 2]),
)


@settings(max_examples=15)
@given(small, st.sampled_from([2, 4, 6, 8, 16]), st.sampled_from([2, 4, 6, 8, 16]))
def test_jitted_bit_fusion_equals_plain_python(layer, wb, ab):
    layer = replace(layer, weight_bits=wb, activation_bits=ab)
    assert FUSION.cost(layer)[0] == pytest.approx(plain_bitfusion_us(layer), rel=1e-12)


@given(small, st.integers(1, 8), st.integers(1, 8), st.sampled_from([EDGE, CLOUD]))
def test_jitted_bismo_equals_plain_python(layer, wb, ab, device):
    layer = replace(layer, weight_bits=wb, activation_bits=ab)
    assert device.cost(layer)[0] == pytest.approx(plain_bismo_us(layer, device), rel=1e-12)


@pytest.mark.parametrize(("device", "cost"), [(FUSION, bitfusion_cost), (EDGE, bismo_cost)])
def test_the_wrapper_is_the_jitted_function(device, cost):
    assert device.cost(DEPTHWISE) == cost(device.constants, *operation_numbers(DEPTHWISE))


@settings(max_examples=50)
@given(small, st.integers(0, 3), st.sampled_from([2, 4, 6, 8, 16]))
def test_bit_fusion_is_never_faster_with_more_bits(layer, index, other):
    fewer, more = (2, 4, 6, 8, 16)[index : index + 2]
    for a, b in (("weight_bits", "activation_bits"), ("activation_bits", "weight_bits")):
        times = [FUSION.cost(replace(layer, **{a: bits, b: other}))[0] for bits in (fewer, more)]
        assert times[0] <= times[1]


@given(small, st.integers(1, 7), st.integers(1, 7), st.sampled_from([EDGE, CLOUD]))
def test_bismo_is_never_faster_with_more_bits_channels_or_inputs(layer, wb, ab, device):
    layer = replace(layer, kind="conv", groups=1, weight_bits=wb, activation_bits=ab)
    for name in ("in_channels", "out_channels", "weight_bits", "activation_bits", "batch"):
        more = replace(layer, **{name: getattr(layer, name) + 1})
        assert device.cost(layer)[0] <= device.cost(more)[0]


@pytest.mark.parametrize("bits", [4, 8])
def test_bit_fusion_is_not_faster_with_more_channels(bits):
    """Twice the channels never are; eight more can be by a little, where a layer waits for its buffers to fill."""
    for side, kernel in product((8, 16, 32), (1, 3)):
        for axis in ("in_channels", "out_channels"):
            layer = Operation("conv", 64, 64, kernel, 1, 1, side, side, bits, bits)
            times = np.array([FUSION.cost(replace(layer, **{axis: channels}))[0] for channels in range(8, 129, 8)])
            assert np.all(times[1:] >= 0.9 * times[:-1])
            assert np.all(np.diff(times[[0, 1, 3, 7, 15]]) > 0)


@pytest.mark.parametrize("device", [FUSION, EDGE, CLOUD])
@pytest.mark.parametrize("layer", [replace(POINTWISE, in_height=14, in_width=14), DEPTHWISE])
def test_a_batch_costs_no_more_than_its_inputs_one_by_one(device, layer):
    one, eight = device.cost(layer), device.cost(replace(layer, batch=8))
    assert one[0] < eight[0] <= 8 * one[0] * (1 + 1e-9)
    assert one[1] < eight[1]


def test_depthwise_layers_use_an_array_badly():
    dense = Operation("conv", 488, 488, 1, 1, 1, 14, 14, 8, 8)
    for device in (FUSION, EDGE):
        macs = {DEPTHWISE: 488 * 9 * 196, dense: 488 * 488 * 196}
        assert device.cost(DEPTHWISE)[0] / macs[DEPTHWISE] > 5 * device.cost(dense)[0] / macs[dense]


@pytest.mark.parametrize(
    ("device", "name", "bits", "legal"),
    [
        (FUSION, "weight_bits", 3, "2, 4, 6, 8, 16"),
        (FUSION, "activation_bits", 32, "2, 4, 6, 8, 16"),
        (EDGE, "weight_bits", 9, "1, 2, 3, 4, 5, 6, 7, 8"),
        (CLOUD, "activation_bits", 0, "1, 2, 3, 4, 5, 6, 7, 8"),
    ],
)
def test_bits_that_the_accelerator_lacks_are_refused(device, name, bits, legal):
    with pytest.raises(ValueError, match=f"{name}={bits} of conv 16->96 .* has {legal}"):
        device.cost(replace(POINTWISE, **{name: bits}))


def test_kernels_that_fit_no_buffer_are_refused():
    with pytest.raises(ValueError, match="kernel=99 .* do not fit"):
        FUSION.cost(Operation("conv", 3, 8, 99, 1, 1, 224, 224, 8, 8))


@pytest.mark.parametrize(("device", "bits_a_us"), [(FUSION, 192 * 500), (EDGE, 3 * 64 * 200), (CLOUD, 3 * 256 * 200)])
def test_layers_without_weights_cost_their_traffic(device, bits_a_us):
    add = Operation("add", 64, 64, 1, 1, 1, 32, 32, activation_bits=8)
    pool = replace(add, kind="pool")
    assert device.cost(add)[0] == pytest.approx(3 * 64 * 1024 * 8 / bits_a_us)
    assert device.cost(pool)[0] == pytest.approx((64 * 1024 + 64) * 8 / bits_a_us, rel=1e-2)
    assert device.cost(replace(add, kind="concat")) == device.cost(Operation("call", 1, 1)) == (0.0, 0.0)


@pytest.mark.skipif(not (PUBLISHED / "apq").is_dir(), reason=f"no published tables of APQ at {PUBLISHED}")
def test_bit_fusion_agrees_with_apqs_table():
    simulators = pytest.importorskip("benchmarks.simulators", reason="needs scipy")
    facts = simulators.check_apq(PUBLISHED / simulators.APQ_TABLE)
    assert facts["passed"]
    assert facts["held_out_half"]["latency"]["spearman"] >= 0.9999
    assert facts["held_out_half"]["latency"]["median_error"] <= 0.001
    assert facts["held_out_half"]["energy"]["spearman"] >= 0.999
    assert facts["held_out_half"]["energy"]["median_error"] <= 0.005
    assert facts["core_pj"]["fitted_on_one_half"] == pytest.approx(facts["core_pj"]["shipped"], rel=0.01)


@pytest.mark.skipif(not (PUBLISHED / "haq").is_dir(), reason=f"no published tables of HAQ at {PUBLISHED}")
def test_bismo_has_the_precision_curve_of_haqs_table():
    simulators = pytest.importorskip("benchmarks.simulators", reason="needs scipy")
    cloud = simulators.check_haq(PUBLISHED / simulators.HAQ_TABLE)["bismo-cloud"]
    assert cloud["spearman_of_times"] >= 0.995
    assert cloud["curve"]["spearman"] >= 0.99
    assert cloud["curve"]["median_error"] <= 0.02
