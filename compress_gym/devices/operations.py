"""Operations as devices measure them, and the CSV in which their times are kept."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from compress_gym.networks import Layer
from compress_gym.networks.network import LAYER_KINDS
from compress_gym.support.errors import AssetError


@dataclass(frozen=True)
class Operation:
    """One operation of one shape.

    A convolution runs as it does in a deployed network: batch norm folded, ReLU fused.

    Attributes:
        kind: A layer's kind, or one of `OTHER_KINDS`. `call` does nothing but enter and leave the runtime.
        in_channels: Channels that enter.
        out_channels: Channels that leave.
        kernel: Side of the kernel.
        stride: Stride.
        groups: Groups of a convolution.
        in_height: Input height in pixels.
        in_width: Input width in pixels.
        weight_bits: Bits of a weight.
        activation_bits: Bits of an activation.
        batch: Inputs a call.
    """

    kind: str
    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    in_height: int = 1
    in_width: int = 1
    weight_bits: int = 32
    activation_bits: int = 32
    batch: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call; 0 of an operation without weights."""
        pixels = -(-self.in_height // self.stride) * -(-self.in_width // self.stride)
        return self.batch * self._weights * (1 if self.kind == "linear" else pixels)

    @property
    def weight_kib(self) -> float:
        """KiB of weights; 0 of an operation without."""
        return self._weights * self.weight_bits / 8 / 1024

    @property
    def _weights(self) -> int:
        if self.kind == "linear":
            return self.in_channels * self.in_height * self.in_width * self.out_channels
        if self.kind in ("conv", "depthwise"):
            return self.out_channels * (self.in_channels // self.groups) * self.kernel**2
        return 0

    def __str__(self) -> str:
        """Returns a short description for messages."""
        return (
            f"{self.kind} {self.in_channels}->{self.out_channels} k{self.kernel} s{self.stride} g{self.groups} "
            f"{self.in_height}x{self.in_width} W{self.weight_bits}A{self.activation_bits} batch {self.batch}"
        )


@dataclass(frozen=True)
class Measurement:
    """Times of one operation.

    Attributes:
        median_us: Median in microseconds.
        p10_us: 10th percentile in microseconds.
        repetitions: Timed calls.
        fastest_us: The fastest call in microseconds; `None` where a table does not have it.
    """

    median_us: float
    p10_us: float
    repetitions: int
    fastest_us: float | None = None

    @property
    def us(self) -> float:
        """What the operation takes: its fastest call where that is known, else the median."""
        return self.median_us if self.fastest_us is None else self.fastest_us


CALL = Operation("call", 1, 1)
# What a tensor costs that passes between a float and an 8-bit part of a network.
BOUNDARIES = ("quantize", "dequantize")
# Beside layers: the empty call, boundaries, and what it costs a tensor to enter and leave the runtime's own layout,
# which an isolated operation pays and an operation inside a network does not.
OTHER_KINDS = ("call", "layout", *BOUNDARIES)
# Bits of weights and of activations where nothing is decided about them.
PRECISION_BITS = {"fp32": (32, 32), "bf16": (16, 16), "fp16": (16, 16), "int8": (8, 8), "mixed": (32, 32)}
# On a device with operations of two precisions, also these.
MIXED_BITS = (8, 8)
COLUMNS = (*(f.name for f in fields(Operation)), "median_us", "p10_us", "repetitions")
# A last column that a table may have.
FASTEST = "fastest_us"


def layout_of(operation: Operation) -> tuple[Operation, Operation]:
    """Returns the layout changes of an operation's input and output."""
    o = operation
    height, width = -(-o.in_height // o.stride), -(-o.in_width // o.stride)
    bits = {"weight_bits": o.weight_bits, "activation_bits": o.activation_bits, "batch": o.batch}
    return (
        Operation("layout", o.in_channels, o.in_channels, in_height=o.in_height, in_width=o.in_width, **bits),
        Operation("layout", o.out_channels, o.out_channels, in_height=height, in_width=width, **bits),
    )


def operation_of(
    layer: Layer, in_channels: int, out_channels: int, weight_bits: int = 32, activation_bits: int = 32, batch: int = 1
) -> Operation:
    """Returns the operation that a layer becomes with these channel counts, bits and batch."""
    groups = out_channels if layer.kind == "depthwise" else layer.groups
    shape = (layer.kernel, layer.stride, groups, layer.in_height, layer.in_width)
    return Operation(layer.kind, in_channels, out_channels, *shape, weight_bits, activation_bits, batch)


def write_operations(path: Path, table: dict[Operation, Measurement]) -> None:
    """Writes a latency table, sorted by operation.

    Raises:
        ValueError: Some operations have a fastest call, and others have none.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    with_fastest = any(m.fastest_us is not None for m in table.values())
    if with_fastest and any(m.fastest_us is None for m in table.values()):
        raise ValueError("fastest_us must be known of all operations, or of none")
    writer.writerow([*COLUMNS, *[FASTEST] * with_fastest])
    for operation in sorted(table, key=astuple):
        m = table[operation]
        row = [*astuple(operation), f"{m.median_us:.3f}", f"{m.p10_us:.3f}", m.repetitions]
        writer.writerow([*row, *[f"{m.us:.3f}"] * with_fastest])
    path.write_text(lines.getvalue())


def read_operations(path: Path) -> dict[Operation, Measurement]:
    """Reads a latency table.

    Raises:
        AssetError: A column is missing or unknown, a value has the wrong type or range, or an operation is given
            twice. The message names file and line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AssetError(f"{path}: not readable as CSV ({error})") from error
    if not rows or tuple(rows[0]) not in (COLUMNS, (*COLUMNS, FASTEST)):
        raise AssetError(
            f"{path}, line 1: expected the columns {','.join(COLUMNS)}, and perhaps {FASTEST}, or feature and "
            "latencies of transformers"
        )
    columns = tuple(rows[0])
    table: dict[Operation, Measurement] = {}
    for line, row in enumerate(rows[1:], start=2):
        try:
            operation, measurement = _parse(row, columns)
        except ValueError as error:
            raise AssetError(f"{path}, line {line}: {error}") from error
        if operation in table:
            raise AssetError(f"{path}, line {line}: {operation} is given twice")
        table[operation] = measurement
    if not table:
        raise AssetError(f"{path}: holds no operations")
    return table


def _parse(row: list[str], columns: tuple[str, ...]) -> tuple[Operation, Measurement]:
    if len(row) != len(columns):
        raise ValueError(f"expected {len(columns)} values, found {len(row)}")
    kind, counts = row[0], row[1 : len(fields(Operation))]
    if kind not in (*LAYER_KINDS, *OTHER_KINDS):
        raise ValueError(f"kind={kind!r} is not one of {(*LAYER_KINDS, *OTHER_KINDS)}")
    numbers = [_number(name, text) for name, text in zip(columns[1:], row[1:], strict=True)]
    if any(n != int(n) for n in (*numbers[: len(counts)], numbers[len(COLUMNS) - 2])):
        raise ValueError("shapes, bits, batch and repetitions must be whole numbers")
    operation = Operation(kind, *(int(n) for n in numbers[: len(counts)]))
    median_us, p10_us, repetitions, *rest = numbers[len(counts) :]
    if p10_us > median_us:
        raise ValueError(f"p10_us={p10_us} is above median_us={median_us}")
    if rest and rest[0] > p10_us:
        raise ValueError(f"{FASTEST}={rest[0]} is above p10_us={p10_us}")
    return operation, Measurement(median_us, p10_us, int(repetitions), *rest)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is not a number") from None
    if not math.isfinite(number) or number <= 0:
        raise ValueError(f"{name}={text!r} must be a positive, finite number")
    return number
