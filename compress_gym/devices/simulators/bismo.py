"""BISMO: a bit-serial matrix multiplier on an FPGA, whose time grows with the product of both operands' bits.

Umuroglu, Rasnayake and Själander, "BISMO: A Scalable Bit-Serial Matrix Multiplication Overlay for Reconfigurable
Computing", FPL 2018 (arXiv 1806.08862); Umuroglu et al., "Optimizing Bit-Serial Matrix Multiplication for
Reconfigurable Computing", TRETS 2019 (arXiv 1901.00370). Wang et al., HAQ, CVPR 2019, search on two sizes of it, `edge`
and `cloud`.

A convolution is lowered to a product of a weight matrix (output channels x window) and an input matrix (window x output
pixels); a window's bits are padded to whole words of the dot-product units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.energy import (
    CONVOLUTION,
    DRAM_PJ_PER_BYTE,
    LINEAR,
    moved_values,
    output_side,
)
from compress_gym.devices.simulators.accelerator import Accelerator
from compress_gym.support.jit import jit


@dataclass(frozen=True)
class Bismo(Accelerator):
    """The accelerator's parameters; the defaults are `edge`.

    Attributes:
        rows: Dot-product units along the weight matrix' rows (D_m).
        depth: Bits of which a unit forms a binary dot product in a cycle (D_k).
        columns: Dot-product units along the input matrix' columns (D_n).
        frequency_mhz: Clock.
        port_bits: Bits a cycle of each of three DRAM ports: for weights, for inputs, and for results.
        buffer_bits: Bits of block RAM; half holds weights, half inputs, and half of each is being filled.
        binary_mac_pj: Energy of a binary multiply-accumulate, of a unit that idles too.
        dram_pj: Energy of moving a bit from or to DRAM.
    """

    title = "BISMO"
    # HAQ, section 1: "BISMO proposed the bit-serial multiplier to support multiplications of 1 to 8 bits".
    legal_bits = (1, 2, 3, 4, 5, 6, 7, 8)
    # The authors' repository (EECS-NTNU/bismo, doc/platforms.md): the largest on a PYNQ-Z1, which is a Zynq-7020, is
    # 8 x 256 x 8 at 200 MHz, 6.5 binary TOPS. HAQ, table 3 (recalled): 8 x 8 on that chip.
    rows: int = 8
    depth: int = 256
    columns: int = 8
    frequency_mhz: float = 200.0
    # The repository's platforms.md: 64-bit ports; HAQ, table 3 (recalled): 4 x 64 bits. That each matrix has one of
    # its own is inferred from HAQ's published latency table (see `benchmarks.simulators`).
    port_bits: int = 64
    # Zynq-7020: 140 block RAMs of 36 Kb (Xilinx DS190; HAQ, table 3, recalled).
    buffer_bits: int = 140 * 36 * 1024
    # Authors' repository, README: 15.4 binary TOPS under 8 W on an Ultra96 (16 nm), two operations a multiply-
    # accumulate. An upper bound there; taken for both sizes, though the Zynq-7020 is 28 nm.
    binary_mac_pj: float = 2 * 8 / 15.4
    # Horowitz, ISSCC 2014.
    dram_pj: float = DRAM_PJ_PER_BYTE / 8

    @staticmethod
    def simulate(constants: NDArray[np.float64], *numbers: int) -> tuple[float, float]:
        """As of `Accelerator`."""
        return bismo_cost(constants, *numbers)


BISMO_PRESETS = {
    "edge": Bismo(),
    # HAQ, table 3 (recalled): VU9P, 16 x 16, 4 ports of 256 bits, 2160 block RAMs of 36 Kb (Xilinx DS923), batches of
    # 16. The edge's word of 256 bits fits HAQ's published table; the clock is the edge's, for want of a source.
    "cloud": Bismo(rows=16, columns=16, port_bits=256, buffer_bits=2160 * 36 * 1024),
}


@jit
def bismo_cost(
    constants: NDArray[np.float64],
    code: int,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int,
    groups: int,
    in_height: int,
    in_width: int,
    weight_bits: int,
    activation_bits: int,
    batch: int,
) -> tuple[float, float]:
    """Simulates one call of an operation.

    Fetching, executing and writing results are stages that run at the same time (FPL 2018), so the slowest
    one is the latency; how the pipeline fills and drains is left out. An operation without weights costs its DRAM
    traffic (`moved_values`).

    It takes `Bismo.constants` and what `operation_numbers` returns.

    Returns:
        Latency in microseconds and energy in millijoules.
    """
    rows, depth, columns = int(constants[0]), int(constants[1]), int(constants[2])
    frequency_mhz, port_bits, binary_mac_pj, dram_pj = constants[3], constants[4], constants[6], constants[7]
    if code not in (CONVOLUTION, LINEAR):
        values = moved_values(code, in_channels, out_channels, kernel, stride, in_height, in_width, batch)
        bits = values * activation_bits
        return math.ceil(bits / (3 * port_bits)) / frequency_mhz, bits * dram_pj * 1e-9
    pixels, images = batch, 1
    if code == LINEAR:
        kernel, stride, groups = 1, 1, 1
    else:
        # Images come one after another, and the weights again with each (inferred from HAQ's table).
        pixels = output_side(code, in_height, kernel, stride) * output_side(code, in_width, kernel, stride)
        images = batch
    window, outputs = in_channels // groups * kernel * kernel, out_channels // groups
    # Groups share a pass as blocks of one matrix, as many as fill the array in one word: no more zeros than needed.
    together = max(1, min(groups, min(depth // window, rows // outputs)))
    passes = images * -(-groups // together)
    words = -(-(window * together) // depth)
    blocks = -(-(outputs * together) // rows) * -(-pixels // columns)
    # FPL 2018: a product of w-bit and a-bit matrices is a weighted sum of w * a binary products.
    executing = weight_bits * activation_bits * blocks * words
    weights = outputs * together * words * depth * weight_bits
    inputs = pixels * words * depth * activation_bits
    # A matrix that does not fit its half of the buffers is gone through in parts, and the other fetched for each part.
    room = constants[5] / 4
    weight_parts, input_parts = math.ceil(weights / room), math.ceil(inputs / room)
    if max(weights, inputs * weight_parts) <= max(inputs, weights * input_parts):
        inputs *= weight_parts
    else:
        weights *= input_parts
    written = pixels * outputs * together * activation_bits
    cycles = passes * max(executing, math.ceil(max(weights, inputs, written) / port_bits))
    energy_pj = executing * rows * depth * columns * binary_mac_pj + (weights + inputs + written) * dram_pj
    return cycles / frequency_mhz, passes * energy_pj * 1e-9
