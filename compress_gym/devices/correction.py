"""From isolated operations to whole networks: the correction, fitted on some networks and checked on others.

An isolated operation pays for more than its arithmetic: for the call, and for bringing its input into the runtime's own
memory layout and its output out of it again (ONNX Runtime inserts such nodes around a lone convolution and leaves
them out between neighbours). A network pays the first once, and the second at its ends. But what it reads
comes from further away than what an isolated operation reads again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.energy import TWO_INPUTS, operation_numbers, output_side
from compress_gym.devices.operations import BOUNDARIES, CALL, Measurement, Operation, layout_of
from compress_gym.making.profile.timing import kendall_tau
from compress_gym.networks.network import WEIGHTED

# Networks from which on the terms of bytes are fitted too.
_ENOUGH = 20
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


def features(
    networks: Iterable[Iterable[Operation]], lookup: Mapping[Operation, float], with_layout: bool
) -> NDArray[np.float64]:
    """Sums the shares of each network's operations: float64 `[N, 5]`."""
    return np.array([np.sum([shares(o, lookup, with_layout) for o in operations], axis=0) for operations in networks])


def mixed_features(networks: Iterable[Iterable[Operation]], lookup: Mapping[Operation, float]) -> NDArray[np.float64]:
    """Sums the shares of each network's operations of 32 bits, of 8 bits, and of its boundaries: float64 `[N, 11]`."""
    rows = []
    for operations in networks:
        row = np.zeros(11)
        for operation in operations:
            if operation.kind in BOUNDARIES:
                row[10] += max(0.0, lookup[operation] - lookup[CALL])
            else:
                first = 5 if operation.weight_bits == 8 else 0
                row[first : first + 5] += shares(operation, lookup, True)
        rows.append(row)
    return np.array(rows)


def fit_mixed(parts: NDArray[np.float64], measured: NDArray[np.float64]) -> MixedCorrection:
    """Fits the coefficients of both precisions and of boundaries; see `fit`.

    Args:
        parts: From `mixed_features`, float64 `[N, 11]`.
        measured: Latencies of the same whole networks in microseconds, float64 `[N]`.
    """
    factors = ("weighted", "other", "layout", "weight_kib", "activation_kib")
    names = ("network_us", *factors, *(f"{name}8" for name in factors), "boundary")
    is_layout = np.array([name.startswith("layout") for name in names])
    signs, upper = np.where(is_layout, -1.0, 1.0), np.where(is_layout, 1.0, np.inf)
    design = np.column_stack([np.ones(len(parts)), parts]) * signs / measured[:, None]
    found = dict(zip(names, _bounded_least_squares(design, upper).tolist(), strict=True))
    _check_growth(found["weighted"] and found["weighted8"], len(measured))
    return MixedCorrection(**found)


def fit(parts: NDArray[np.float64], measured: NDArray[np.float64]) -> Correction:
    """Fits the coefficients by least squares of the relative error.

    Args:
        parts: From `features`, float64 `[N, 5]`.
        measured: Latencies of the same whole networks in microseconds, float64 `[N]`.

    Returns:
        The correction; no coefficient is negative, and not more than the layout changes is taken off.

    Raises:
        ValueError: The networks' latencies do not grow with those of their operations.
    """
    enough = len(measured) >= _ENOUGH  # of few networks six coefficients would fit the noise
    design = np.column_stack([np.ones(len(parts)), parts * [1, 1, -1, enough, enough]]) / measured[:, None]
    upper = np.array([np.inf, np.inf, np.inf, 1, np.inf, np.inf])
    coefficients = _bounded_least_squares(design, upper)
    if coefficients[1] == 0:
        # Too few or too noisy networks to tell weighted operations from the others: one scale serves both.
        merged = np.column_stack([design[:, 0], design[:, 1] + design[:, 2], design[:, 3:]])
        coefficients = _bounded_least_squares(merged, upper[1:])[[0, 1, 1, 2, 3, 4]]
    _check_growth(coefficients[1], len(measured))
    return Correction(*(float(c) for c in coefficients))


def _check_growth(weighted: float, networks: int) -> None:
    if weighted == 0:
        raise ValueError(
            f"the latencies of the {networks} whole networks do not grow with those of their operations; "
            "measure again on an idle machine, or more networks, and remove the unfinished rounds first"
        )


def _bounded_least_squares(design: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fits a right side of ones: no coefficient is negative, or above `upper`."""
    from scipy.optimize import lsq_linear

    used = np.abs(design).sum(axis=0) > 0
    scale = np.abs(design[:, used]).max(axis=0)  # columns of one size: microseconds and KiB differ widely
    solution = lsq_linear(design[:, used] / scale, np.ones(len(design)), bounds=(0, upper[used] * scale), method="bvls")
    coefficients = np.zeros(design.shape[1])
    coefficients[used] = solution.x / scale
    return np.array([float(f"{c:.5g}") for c in coefficients])


def errors(
    predicted: NDArray[np.float64], measured: NDArray[np.float64], uncorrected: NDArray[np.float64]
) -> dict[str, Any]:
    """States how far predictions are from measurements of whole networks; all arguments in us, float64 `[N]`."""
    ratio = predicted / measured
    return {
        "checked_on": f"{len(measured)} whole networks of other strategies of all sizes, measured in the same rounds",
        "predicted_over_measured": {
            "median": round(float(np.median(ratio)), 4),
            "lowest": round(float(ratio.min()), 4),
            "highest": round(float(ratio.max()), 4),
        },
        "median_absolute_error": round(float(np.median(np.abs(ratio - 1))), 4),
        "p95_absolute_error": round(float(np.quantile(np.abs(ratio - 1), 0.95)), 4),
        "kendall_tau": round(kendall_tau(predicted, measured), 4),
        "uncorrected_sum_over_measured": round(float(np.median(uncorrected / measured)), 4),
        "measured_us": {"lowest": round(float(measured.min()), 1), "highest": round(float(measured.max()), 1)},
    }


def worst_of(stated: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Joins the errors of several tasks: the worst of each, and each task's own; one task's are left as they are."""
    if len(stated) == 1:
        return next(iter(stated.values()))
    networks = next(iter(stated.values()))["checked_on"].partition(" of ")[0]
    return {
        "checked_on": f"{networks} of each of {len(stated)} tasks, "
        "other strategies of all sizes, measured in the same rounds; the worst task's figures",
        **{
            key: max(facts[key] for facts in stated.values()) for key in ("median_absolute_error", "p95_absolute_error")
        },
        "kendall_tau": min(facts["kendall_tau"] for facts in stated.values()),
        "tasks": dict(stated),
    }


def errors_by_task(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the errors that the card of a measured device states, by the names of its tasks."""
    error = card["stated_error"]
    return dict(error.get("tasks", {card["tasks"][0]: error}))


def times_us(table: Mapping[Operation, Measurement]) -> dict[Operation, float]:
    """Returns what each operation of a table takes, in microseconds."""
    return {operation: measurement.us for operation, measurement in table.items()}
