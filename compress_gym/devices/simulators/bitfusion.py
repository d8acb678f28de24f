"""Bit Fusion: a systolic array whose multipliers fuse from 2-bit bricks to the widths of a layer's operands.

Sharma et al., "Bit Fusion: Bit-Level Dynamically Composable Architecture for Accelerating Deep Neural Networks",
ISCA 2018. Two kinds of source are named below:

- *released*: the configuration and synthesis results that its authors released with their simulator
  (github.com/hsharma35/bitfusion: `bf_e_conf.ini`, the version compared with Eyeriss, and the CACTI and synthesis
  tables), 45 nm;
- *inferred*: the papers do not say it, and it was inferred from the rows that Wang et al., "APQ", CVPR 2020, published
  for this accelerator (github.com/mit-han-lab/apq). `python -m benchmarks.simulators` states the error against them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.energy import CONVOLUTION, LINEAR, moved_values, output_side
from compress_gym.devices.simulators.accelerator import Accelerator
from compress_gym.support.jit import jit

WIDEST = 16

# Loops over tiles, outermost first, in every order that differs: batch, rows, columns, input channels, output channels.
# Rows and columns are cut alike, so one of their two orders will do. With one input only the first 12 orders differ.
_ORDERS = np.array(sorted(o for o in permutations(range(5)) if o.index(1) < o.index(2)))
_ORDERS_OF_ONE_INPUT = 12
# Which of these loops choose another part of the tensor.
_INPUT_LOOPS = np.array([True, True, True, True, False])
_WEIGHT_LOOPS = np.array([False, False, False, True, True])
_OUTPUT_LOOPS = np.array([True, True, True, False, True])


@dataclass(frozen=True)
class BitFusion(Accelerator):
    """The accelerator's parameters.

    Attributes:
        rows: Fusion units that share an output, each taking other input channels.
        columns: Fusion units that share an input, each making another output channel.
        unit_bits: Width of the operands of which a fusion unit multiplies one pair a cycle.
        frequency_mhz: Clock.
        weight_bytes: Weight buffers, all together; half of each buffer is being filled while the other is used.
        input_bytes: Input buffers.
        output_bytes: Output buffers.
        dram_bits: Bits that move between DRAM and the buffers in a cycle.
        sum_bits: Width of a partial sum, in which outputs move.
        packed: Channels that share a pass of a grouped convolution, per fused engine of a unit.
        core_pj: Energy of the array in a cycle of computing.
        leakage_pj: Leakage of the buffers in any cycle.
        weight_read_pj: Energy of reading a bit from a weight buffer; the next ones are of the other buffers.
        weight_write_pj: Writing a bit.
        input_read_pj: Reading a bit.
        input_write_pj: Writing a bit.
        output_read_pj: Reading a bit.
        output_write_pj: Writing a bit.
        dram_pj: Energy of moving a bit from or to DRAM.
    """

    title = "Bit Fusion"
    # Bricks fuse to 2, 4, 8 and 16 bits (HAQ, section 1). 6 bits run as 8, packed in DRAM only (inferred).
    legal_bits = (2, 4, 6, 8, 16)
    # released: bf_e_conf.ini (a, c, high_prec, frequency, Wgt_SRAM, Act_SRAM, Out_SRAM, if_width). The paper's
    # comparison with Eyeriss has the same 112 KB of buffers and 500 MHz (recalled). That APQ's rows are of this version
    # is inferred.
    rows: int = 16
    columns: int = 32
    unit_bits: int = 8
    frequency_mhz: float = 500.0
    weight_bytes: int = 65536
    input_bytes: int = 32768
    output_bytes: int = 16384
    dram_bits: int = 192
    # released: the simulator reads and writes outputs at 32 bits.
    sum_bits: int = 32
    # inferred: a depth-wise layer runs as dense convolutions of 8 channels a fused engine, 32 at 4 x 4 bits.
    packed: int = 8
    # inferred: fitted to one random half of APQ's energies. The released synthesis of a 4 x 4 array, scaled, is 235 pJ
    # dynamic and 61 pJ of leakage; what APQ's rows charge above that is not documented.
    core_pj: float = 490.0
    # released: CACTI, 45 nm; 512 weight buffers of 128 bytes (0.2496 mW each), 16 input buffers of 2 KB (3.230 mW), 32
    # output buffers of 512 bytes (1.0318 mW), over the clock. Words of 32 bits.
    leakage_pj: float = (512 * 0.249588 + 16 * 3.22997 + 32 * 1.03183) / 0.5
    weight_read_pj: float = 0.683701 / 32
    weight_write_pj: float = 0.925317 / 32
    input_read_pj: float = 1.90318 / 32
    input_write_pj: float = 3.63853 / 32
    output_read_pj: float = 1.06097 / 32
    output_write_pj: float = 2.33869 / 32
    # released: 15 pJ a bit.
    dram_pj: float = 15.0

    @staticmethod
    def simulate(constants: NDArray[np.float64], *numbers: int) -> tuple[float, float]:
        """As of `Accelerator`."""
        return bitfusion_cost(constants, *numbers)


@jit
def bitfusion_cost(
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

    An operation without weights costs its DRAM traffic (`moved_values`): the array idles.

    Latency never falls as bits grow. As channels or inputs grow it can, in fewer than 1 % of random layers, where one
    that fits the buffers waits for them to fill. Energy is that of the fastest schedule, not the least.

    It takes `BitFusion.constants` and what `operation_numbers` returns.

    Returns:
        Latency in microseconds and energy in millijoules.
    """
    frequency_mhz, dram_bits, leakage_pj, dram_pj = constants[3], constants[7], constants[11], constants[18]
    if code not in (CONVOLUTION, LINEAR):
        values = moved_values(code, in_channels, out_channels, kernel, stride, in_height, in_width, batch)
        bits = values * activation_bits
        idle = math.ceil(bits / dram_bits)
        return idle / frequency_mhz, (idle * leakage_pj + bits * dram_pj) * 1e-9
    if code == LINEAR:
        kernel, stride, groups = 1, 1, 1
    height, width = output_side(code, in_height, kernel, stride), output_side(code, in_width, kernel, stride)
    best_cycles, best_pj = np.inf, np.inf
    # Bricks may always be fused for wider operands than the layer has. That pays where narrow ones fill the array with
    # zeros or overflow its buffers; without it fewer bits could be slower. It makes 18 of APQ's 6,567 rows faster, by 1
    # to 7 %.
    fused_weight = _fused_bits(weight_bits)
    while fused_weight <= WIDEST:
        fused_input = _fused_bits(activation_bits)
        while fused_input <= WIDEST:
            engines = (constants[2] / fused_weight) * (constants[2] / fused_input)
            # Groups share the array only as blocks of a dense convolution, so few are packed together.
            together = 1
            if groups > 1:
                room = int(constants[9] * max(1.0, engines))
                together = max(1, min(groups, room // (in_channels // groups)))
            passes = -(-groups // together)
            cycles, energy_pj = _best_schedule(
                constants,
                in_channels // groups * together,
                out_channels // groups * together,
                kernel,
                stride,
                height,
                width,
                weight_bits,
                activation_bits,
                batch,
                fused_weight,
                fused_input,
            )
            if passes * cycles < best_cycles:
                best_cycles, best_pj = passes * cycles, passes * energy_pj
            fused_input *= 2
        fused_weight *= 2
    return best_cycles / frequency_mhz, best_pj * 1e-9


@jit
def _fused_bits(bits: int) -> int:
    """Returns the width at which operands of so many bits run: the next power of two."""
    width = 2
    while width < bits:
        width *= 2
    return width


@jit
def _stream(
    order: NDArray[np.int64],
    counts: NDArray[np.int64],
    chosen_by: NDArray[np.bool_],
    moved: int,
    held: int,
    capacity: float,
) -> tuple[int, int]:
    """Counts a tensor's traffic between DRAM and its buffer.

    From the innermost loop outwards, a loop that does not choose another part of the tensor costs nothing while the
    parts in use fit the buffer; once they do not, every loop fetches them again.

    Args:
        order: The loops, outermost first.
        counts: Iterations of each loop.
        chosen_by: Whether a loop chooses another part of the tensor.
        moved: Bits of a tile in DRAM.
        held: Bits of a tile in the buffer, padded to the array.
        capacity: Bits that fit.

    Returns:
        Bits moved in the whole layer, and those that fill the buffer once.
    """
    total, once, fits = moved, moved, True
    for position in range(4, -1, -1):
        loop = order[position]
        if fits and not chosen_by[loop]:
            continue
        total *= counts[loop]
        if fits:
            held *= counts[loop]
            if held > capacity:
                fits = False
            else:
                once = total
    return total, once


@jit
def _best_schedule(
    constants: NDArray[np.float64],
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    height: int,
    width: int,
    weight_bits: int,
    activation_bits: int,
    batch: int,
    held_weight_bits: int,
    held_input_bits: int,
) -> tuple[float, float]:
    """Finds the fastest tiling and loop order of a dense convolution, as the released simulator searches.

    Tiles are powers of two of each dimension. DRAM traffic overlaps with computing, except for what first fills the
    buffers and what last leaves them. Of equally fast schedules the one of least energy is taken.

    A fusion unit has 16 bricks of 2 x 2 bits: 16 engines at 2 x 2 bits, 4 at 4 x 4, one at 8 x 8 (ISCA 2018);
    16-bit operands take it several cycles. `held_weight_bits` and `held_input_bits` are the fused widths.

    Returns:
        Cycles, and energy in pJ.
    """
    rows, columns, dram_bits, sum_bits = constants[0], int(constants[1]), constants[7], int(constants[8])
    weight_room, input_room, output_room = 4 * constants[4], 4 * constants[5], 4 * constants[6]
    engines = (constants[2] / held_weight_bits) * (constants[2] / held_input_bits)
    lanes, beats = int(rows * max(1.0, engines)), max(1.0, 1 / engines)
    # Where not even one tile of weights fits, fewer lanes work.
    while lanes > 1 and lanes * kernel * kernel * columns * held_weight_bits > weight_room:
        lanes //= 2
    macs = batch * height * width * kernel * kernel * inputs * outputs
    # What no schedule changes: every weight and every input is read for each multiply-accumulate; an input moves along
    # the columns, so it is read once for all of them.
    fixed_pj = macs * (weight_bits * constants[12] + activation_bits * constants[14] / columns)
    counts = np.ones(5, dtype=np.int64)
    best_cycles, best_pj = np.inf, np.inf
    b = 1
    while True:
        counts[0] = -(-batch // b)
        side = 1
        while True:
            tile_h, tile_w = min(side, height), min(side, width)
            counts[1], counts[2] = -(-width // tile_w), -(-height // tile_h)
            pixels, seen = b * tile_h * tile_w, b * (kernel + (tile_h - 1) * stride) * (kernel + (tile_w - 1) * stride)
            ic = 1
            while True:
                counts[3] = -(-inputs // ic)
                steps = -(-ic // lanes)
                oc = min(columns, outputs)
                while True:
                    counts[4] = -(-outputs // oc)
                    blocks = -(-oc // columns)
                    tiles = counts[0] * counts[1] * counts[2] * counts[3] * counts[4]
                    computing = math.ceil(tiles * pixels * kernel * kernel * blocks * steps * beats)
                    held_weights = steps * lanes * kernel * kernel * blocks * columns * held_weight_bits
                    held_inputs = seen * steps * lanes * held_input_bits
                    held_outputs = pixels * blocks * columns * sum_bits
                    fits = held_weights <= weight_room and held_inputs <= input_room and held_outputs <= output_room
                    if fits and computing <= best_cycles:
                        for k in range(_ORDERS_OF_ONE_INPUT if batch == 1 else len(_ORDERS)):
                            w, first_w = _stream(
                                _ORDERS[k],
                                counts,
                                _WEIGHT_LOOPS,
                                kernel * kernel * ic * oc * weight_bits,
                                held_weights,
                                weight_room,
                            )
                            x, first_x = _stream(
                                _ORDERS[k], counts, _INPUT_LOOPS, seen * ic * activation_bits, held_inputs, input_room
                            )
                            y, last_y = _stream(
                                _ORDERS[k], counts, _OUTPUT_LOOPS, pixels * oc * sum_bits, held_outputs, output_room
                            )
                            # Outputs are read (as partial sums) and written.
                            first = first_w + first_x + last_y
                            during = w + x + 2 * y - first - last_y
                            cycles = max(computing, math.ceil(during / dram_bits))
                            cycles += math.ceil(first / dram_bits) + math.ceil(last_y / dram_bits)
                            if cycles > best_cycles:
                                continue
                            pj = fixed_pj + computing * constants[10] + cycles * constants[11]
                            pj += w * constants[13] + x * constants[15] + y * (constants[16] + constants[17])
                            pj += (w + x + 2 * y) * constants[18]
                            if cycles < best_cycles or pj < best_pj:
                                best_cycles, best_pj = cycles, pj
                    if oc == outputs:
                        break
                    oc = min(2 * oc, outputs)
                if ic == inputs:
                    break
                ic = min(2 * ic, inputs)
            if side >= max(height, width):
                break
            side *= 2
        if b == batch:
            break
        b = min(2 * b, batch)
    return best_cycles, best_pj
