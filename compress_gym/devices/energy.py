"""Energy of an operation where a device has no measured one: analytic, from published energies per operation.

The estimate is marked `PROVENANCE` wherever it is used. It counts arithmetic, on-chip reads and DRAM traffic with the
energies of M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014 (45 nm, 0.9 V;
32-bit figures as later papers quote them, the others recalled). It compares strategies on one imaginary chip; it is no
forecast of what any product draws.

The geometry of an operation is here too, since the simulators count the same tensors.
"""

from __future__ import annotations

from compress_gym.devices.operations import Operation
from compress_gym.support.jit import within

PROVENANCE = "analytic"

# Horowitz 2014: pJ of one operation.
INT8_MULTIPLY_PJ = 0.2
INT32_ADD_PJ = 0.1
FP16_MAC_PJ = 1.1 + 0.4
FP32_MAC_PJ = 3.7 + 0.9
# Horowitz 2014: 20 pJ for 64 bits from a 32 KB memory; 1.3 to 2.6 nJ for 64 bits from DRAM, of which the lower.
ON_CHIP_PJ_PER_BYTE = 20 / 8
DRAM_PJ_PER_BYTE = 1300 / 8
# One on-chip read serves so many multiply-accumulates: the side of a small array in which weights and inputs are
# passed on between neighbours (Chen et al., Eyeriss, ISSCC 2016, has 12 x 14; Bit Fusion, ISCA 2018, has 16 rows).
REUSE = 16

# What an operation does with its tensors. A concatenation only says where its inputs are written, `call` does nothing.
FREE, ONE_INPUT, TWO_INPUTS, WINDOW, GLOBAL, CONVOLUTION, LINEAR = range(7)
KIND_CODES = {
    "call": FREE,
    "concat": FREE,
    "batch-norm": ONE_INPUT,
    "quantize": ONE_INPUT,
    "dequantize": ONE_INPUT,
    "add": TWO_INPUTS,
    "multiply": TWO_INPUTS,
    "max-pool": WINDOW,
    "avg-pool": WINDOW,
    "pool": GLOBAL,
    "conv": CONVOLUTION,
    "depthwise": CONVOLUTION,
    "linear": LINEAR,
}


@within
def output_side(code: int, side: int, kernel: int, stride: int) -> int:
    """Returns the height or width that leaves; convolutions are padded by half their kernel, pools are not."""
    if code == CONVOLUTION:
        return (side + 2 * (kernel // 2) - kernel) // stride + 1
    if code == WINDOW:
        return max(1, (side - kernel) // stride + 1)
    if code in (GLOBAL, LINEAR):
        return 1
    return side


@within
def moved_values(
    code: int, in_channels: int, out_channels: int, kernel: int, stride: int, in_height: int, in_width: int, batch: int
) -> int:
    """Returns how many activations an operation without weights reads and writes.

    Pooling, addition, multiplication and a batch norm that stands alone cost their traffic; FREE kinds cost nothing.
    """
    if code == FREE:
        return 0
    pixels = output_side(code, in_height, kernel, stride) * output_side(code, in_width, kernel, stride)
    reads = 2 if code == TWO_INPUTS else 1
    return batch * (reads * in_channels * in_height * in_width + out_channels * pixels)


def operation_numbers(operation: Operation) -> tuple[int, int, int, int, int, int, int, int, int, int, int]:
    """Returns an operation as the jitted simulators take it.

    Returns:
        Kind code, in channels, out channels, kernel, stride, groups, input height, input width, weight bits,
        activation bits, batch. A linear layer has its flattened features as channels and a 1x1 input.

    Raises:
        ValueError: The kind is not known, or groups do not divide the channels.
    """
    o = operation
    if o.kind not in KIND_CODES:
        raise ValueError(f"kind={o.kind!r} is not one of {tuple(KIND_CODES)}")
    groups = o.in_channels if o.kind == "depthwise" else o.groups
    if groups < 1 or o.in_channels % groups or o.out_channels % groups:
        raise ValueError(f"{o}: groups={groups} must divide in_channels and out_channels")
    channels, height, width = o.in_channels, o.in_height, o.in_width
    if o.kind == "linear":
        channels, height, width = channels * height * width, 1, 1
    code = KIND_CODES[o.kind]
    bits = (o.weight_bits, o.activation_bits)
    return (code, channels, o.out_channels, o.kernel, o.stride, groups, height, width, *bits, o.batch)


def mac_pj(weight_bits: int, activation_bits: int) -> float:
    """Returns the energy of one multiply-accumulate in pJ.

    Above 16 bits operands are fp32, at 16 bits fp16, below integers: a multiplier's energy grows with the product of
    its operands' widths (0.2 pJ at 8 x 8 gives 3.2 pJ at 32 x 32, where Horowitz has 3.1), and the sum is 32 bits wide.
    """
    widest = max(weight_bits, activation_bits)
    if widest > 16:
        return FP32_MAC_PJ
    if widest == 16:
        return FP16_MAC_PJ
    return INT8_MULTIPLY_PJ * weight_bits * activation_bits / 64 + INT32_ADD_PJ


def analytic_energy_mj(operation: Operation) -> float:
    """Estimates the energy of one call of an operation, in millijoules.

    Arithmetic, plus on-chip reads (weight and activation of every multiply-accumulate, shared by `REUSE` of them), plus
    DRAM traffic: inputs, weights and outputs once, as if the on-chip memory held what is used again. Static power is
    left out, so a slow device is not charged for its time.

    Args:
        operation: The operation; 1 to 32 bits. Bits of a weight do not matter where there are none.

    Raises:
        ValueError: A bit width is out of range, or the kind is not known.
    """
    for name in ("weight_bits", "activation_bits"):
        if not 1 <= getattr(operation, name) <= 32:
            raise ValueError(f"{name}={getattr(operation, name)} of {operation} must lie between 1 and 32")
    code, inputs, outputs, kernel, stride, groups, height, width, wb, ab, batch = operation_numbers(operation)
    if code not in (CONVOLUTION, LINEAR):
        moved = moved_values(code, inputs, outputs, kernel, stride, height, width, batch)
        return moved * ab / 8 * (DRAM_PJ_PER_BYTE + ON_CHIP_PJ_PER_BYTE) * 1e-9
    window = 1 if code == LINEAR else kernel**2
    pixels = output_side(code, height, kernel, stride) * output_side(code, width, kernel, stride)
    weights = outputs * (inputs // groups) * window
    macs = batch * weights * pixels
    dram_bytes = (weights * wb + batch * (inputs * height * width + outputs * pixels) * ab) / 8
    on_chip_bytes = macs * (wb + ab) / 8 / REUSE
    return (macs * mac_pj(wb, ab) + on_chip_bytes * ON_CHIP_PJ_PER_BYTE + dram_bytes * DRAM_PJ_PER_BYTE) * 1e-9
