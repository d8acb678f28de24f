"""HAQ's look-up tables: one NumPy array [layer, weight bits - 1, activation bits - 1] (mit-han-lab/haq, MIT).

The released code (`lib/env/linear_quantize_env.py`) sums `table[layer, weight_bits - 1, activation_bits - 1]` over the
layers, for bits from 1 to 8, and only ever uses ratios of such sums: neither code nor README states a unit or a clock.
The entries are whole numbers that count work: the last layer of 1280 x 1000 weights has 5,000 a weight bit, which is
1280 * 1000 / 256, and the first 1 x 1 convolution has 16 * 112 * 112 an activation bit, one for each pixel of a batch
of 16 (the file is named `..._batch16_...`). So they are read as clock cycles of the simulated accelerator for a whole
batch. Milliseconds need a clock, which the caller states.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.published.table import LARGEST, PublishedTable, in_range, shown
from compress_gym.support.errors import AssetError

BITS = 8
UNITS = {"layer": "index", "weight_bits": "bits", "activation_bits": "bits", "latency_cycles": "clock cycles a batch"}

_MAGIC = b"\x93NUMPY"


class HaqTable(PublishedTable):
    """Clock cycles of each layer at each pair of weight and activation bits."""

    @property
    def cycles(self) -> NDArray[np.float64]:
        """Clock cycles of one batch, indexed [layer, weight_bits - 1, activation_bits - 1]."""
        return self.columns["latency_cycles"].reshape(-1, BITS, BITS)

    def latency_ms(self, clock_mhz: float) -> NDArray[np.float64]:
        """Returns milliseconds of one batch, indexed [layer, weight_bits - 1, activation_bits - 1].

        Args:
            clock_mhz: The accelerator's clock in MHz, which the published file does not state.

        Raises:
            ValueError: The clock is not a positive number.
        """
        if not (math.isfinite(clock_mhz) and clock_mhz > 0):
            raise ValueError(f"clock_mhz={clock_mhz!r} must be a positive number of MHz")
        return self.cycles / (clock_mhz * 1e3)


def mismatch(data: bytes, text: str | None) -> str | None:
    """Returns why the content is not HAQ's, or None where it may be."""
    return None if data.startswith(_MAGIC) else "it does not begin with the magic bytes of a NumPy array"


def read(path: Path, data: bytes) -> HaqTable:
    """Reads the array without ever unpickling.

    Raises:
        AssetError: The array is damaged, holds objects, has another shape or type, or holds a number that is no time.
    """
    shape, fortran, dtype, content = _header(path, data)
    # The header is checked before memory is taken: a few bytes can announce terabytes or a pickled object.
    if dtype.hasobject:
        raise AssetError(f"{path}: the array holds Python objects, which are never unpickled")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise AssetError(f"{path}: the array's type is {dtype}; expected whole or decimal numbers of up to 64 bits")
    if len(shape) != 3 or shape[1:] != (BITS, BITS) or shape[0] < 1:
        raise AssetError(
            f"{path}: the array's shape is {shown(shape)}; expected (layers, {BITS}, {BITS}): weight, activation bits"
        )
    expected = shape[0] * BITS * BITS * dtype.itemsize
    if len(content) != expected:
        raise AssetError(f"{path}: {len(content)} bytes follow the header; {shape} of {dtype} need {expected}")
    with np.errstate(all="ignore"):  # Some NaNs warn when they are converted; all are refused below.
        array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C").astype(np.float64)
    for layer, weight, activation in np.argwhere(~((array > 0) & (array <= LARGEST))):
        try:
            in_range("latency_cycles", float(array[layer, weight, activation]))
        except ValueError as error:
            where = f"[layer {layer}, {weight + 1} weight bits, {activation + 1} activation bits]"
            raise AssetError(f"{path}, {where}: {error}") from error
    layers, weights, activations = np.indices(shape, dtype=np.int64).reshape(3, -1)
    return HaqTable(
        path,
        "haq",
        f"HAQ: simulated clock cycles of {shape[0]} layers of one network at 1 to {BITS} weight and activation bits, "
        "for a whole batch; the publisher states neither unit nor clock.",
        {
            "layer": layers,
            "weight_bits": weights + 1,
            "activation_bits": activations + 1,
            "latency_cycles": np.ascontiguousarray(array).reshape(-1),
        },
        UNITS,
    )


def _header(path: Path, data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], bytes]:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} is not 1.0 or 2.0")
        # Both lengths are bounded by NumPy (10,000 characters), since the header is parsed as Python literals.
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # A damaged header raises whatever Python's tokenizer and parser raise.
        raise AssetError(f"{path}: the header of the NumPy array is damaged ({shown(str(error))})") from error
    return shape, fortran, dtype, file.read()
