"""From isolated operations to whole networks: the correction.

An isolated operation pays for more than its arithmetic: for the call, and for bringing its input into the runtime's own
memory layout and its output out of it again (ONNX Runtime inserts such nodes around a lone convolution and leaves
them out between neighbours). A network pays the first once, and the second at its ends. But what it reads
comes from further away than what an isolated operation reads again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from compress_gym.devices.energy import TWO_INPUTS, operation_numbers, output_side
from compress_gym.devices.operations import BOUNDARIES, CALL, Measurement, Operation, layout_of
from compress_gym.networks.network import WEIGHTED

# Coefficients that the digests of older devices do not hold.
_CAME_LATER = ("weight_kib", "activation_kib")


@dataclass(frozen=True, repr=False)
class Correction:
    """What measured operations become inside a network.

    Attributes:
        network_us: Microseconds a network costs beyond its operations.
        weighted: What a microsecond of a convolution or linear layer, less the empty call, becomes.
        other: The same of every other operation.
        layout: How much of the layout changes around a weighted operation is taken off; 0 where none were measured.
        weight_kib: Microseconds that a KiB of weights takes longer: an isolated operation finds its weights in the
            nearest cache, a network whose weights are many does not.
        activation_kib: The same of a KiB of activations that enter or leave.
    """

    network_us: float
    weighted: float
    other: float
    layout: float = 0.0
    weight_kib: float = 0.0
    activation_kib: float = 0.0

    def __repr__(self) -> str:
        """Returns the coefficients; digests of devices hold this, so those that came later are left out where 0."""
        values = {name: value for name, value in asdict(self).items() if name not in _CAME_LATER or value}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    def operation_us(self, operation: Operation, lookup: Mapping[Operation, float]) -> float:
        """Returns an operation's share of a network's latency in microseconds, never negative.

        Args:
            operation: The operation.
            lookup: Measured microseconds; must hold the operation, the empty call, and, where `layout` is
                not 0, the layout changes of its input and output.
        """
        parts = shares(operation, lookup, self.layout != 0)
        factors = (self.weighted, self.other, -self.layout, self.weight_kib, self.activation_kib)
        return max(0.0, sum(factor * part for factor, part in zip(factors, parts, strict=True)))

    def needs_layout(self, operation: Operation) -> bool:
        """Returns whether an operation's share needs the layout changes of its input and output."""
        return self.layout != 0 and operation.kind in WEIGHTED and operation.kind != "linear"

    def to_json(self) -> dict[str, float]:
        """Returns the coefficients as plain data."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, repr=False)
class MixedCorrection(Correction):
    """Of a device that has operations of 32 and of 8 bits: those of 8 bits have factors of their own.

    Attributes:
        weighted8: As `weighted`, of operations of 8 bits.
        other8: As `other`.
        layout8: As `layout`.
        weight_kib8: As `weight_kib`.
        activation_kib8: As `activation_kib`.
        boundary: What a microsecond of a conversion between 32 and 8 bits, less the empty call, becomes.
    """

    weighted8: float
    other8: float
    layout8: float
    weight_kib8: float
    activation_kib8: float
    boundary: float

    def operation_us(self, operation: Operation, lookup: Mapping[Operation, float]) -> float:
        """Returns an operation's share of a network's latency in microseconds; see `Correction`."""
        if operation.kind in BOUNDARIES:
            return self.boundary * max(0.0, lookup[operation] - lookup[CALL])
        if operation.weight_bits == 8:
            return self._of_8_bits.operation_us(operation, lookup)
        return super().operation_us(operation, lookup)

    def needs_layout(self, operation: Operation) -> bool:
        """Returns whether an operation's share needs the layout changes of its input and output."""
        if operation.weight_bits == 8:
            return self._of_8_bits.needs_layout(operation)
        return super().needs_layout(operation)

    @property
    def _of_8_bits(self) -> Correction:
        return Correction(0.0, self.weighted8, self.other8, self.layout8, self.weight_kib8, self.activation_kib8)


def shares(
    operation: Operation, lookup: Mapping[Operation, float], with_layout: bool
) -> tuple[float, float, float, float, float]:
    """Splits an operation.

    Returns:
        Microseconds of a weighted one, of another one, and of layout changes; KiB of weights and of activations.
    """
    call = lookup[CALL]
    net = max(0.0, lookup[operation] - call)
    if operation.kind not in WEIGHTED:
        return 0.0, net, 0.0, 0.0, activation_kib(operation)
    layout = 0.0
    if with_layout and operation.kind != "linear":
        layout = sum(max(0.0, lookup[change] - call) / 2 for change in layout_of(operation))
    return net, 0.0, layout, operation.weight_kib, activation_kib(operation)


def activation_kib(operation: Operation) -> float:
    """Returns the KiB of activations that enter and leave in one call."""
    code, inputs, outputs, kernel, stride, _, height, width, _, bits, batch = operation_numbers(operation)
    pixels = output_side(code, height, kernel, stride) * output_side(code, width, kernel, stride)
    entering = (2 if code == TWO_INPUTS else 1) * inputs * height * width
    return float(batch * (entering + outputs * pixels) * bits / 8 / 1024)


def errors_by_task(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the errors that the card of a measured device states, by the names of its tasks."""
    error = card["stated_error"]
    return dict(error.get("tasks", {card["tasks"][0]: error}))


def times_us(table: Mapping[Operation, Measurement]) -> dict[Operation, float]:
    """Returns what each operation of a table takes, in microseconds."""
    return {operation: measurement.us for operation, measurement in table.items()}
