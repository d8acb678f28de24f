"""From isolated operations to whole networks: the correction, fitted on some networks and checked on others.

An isolated operation pays for more than its arithmetic: for the call, and for bringing its input into the runtime's own
memory layout and its output out of it again (ONNX Runtime inserts such nodes around a lone convolution and leaves
them out between neighbours). A network pays the first once, and the second at its ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.operations import CALL, Measurement, Operation, layout_of
from compress_gym.networks.network import WEIGHTED


@dataclass(frozen=True)
class Correction:
    """What measured operations become inside a network.

    Attributes:
        network_us: Microseconds a network costs beyond its operations.
        weighted: What a microsecond of a convolution or linear layer, less the empty call, becomes.
        other: The same of every other operation.
        layout: How much of the layout changes around a weighted operation is taken off; 0 where none were measured.
    """

    network_us: float
    weighted: float
    other: float
    layout: float = 0.0

    def operation_us(self, operation: Operation, lookup: Mapping[Operation, float]) -> float:
        """Returns an operation's share of a network's latency in microseconds, never negative.

        Args:
            operation: The operation.
            lookup: Measured medians in microseconds; must hold the operation, the empty call, and, where `layout` is
                not 0, the layout changes of its input and output.
        """
        weighted, other, layout = shares(operation, lookup, self.layout != 0)
        return max(0.0, self.weighted * weighted + self.other * other - self.layout * layout)

    def to_json(self) -> dict[str, float]:
        """Returns the coefficients as plain data."""
        return asdict(self)


def shares(operation: Operation, lookup: Mapping[Operation, float], with_layout: bool) -> tuple[float, float, float]:
    """Splits an operation's time: microseconds of a weighted operation, of another one, and of layout changes."""
    call = lookup[CALL]
    net = max(0.0, lookup[operation] - call)
    if operation.kind not in WEIGHTED:
        return 0.0, net, 0.0
    layout = 0.0
    if with_layout and operation.kind != "linear":
        layout = sum(max(0.0, lookup[change] - call) / 2 for change in layout_of(operation))
    return net, 0.0, layout


def features(
    networks: Iterable[Iterable[Operation]], lookup: Mapping[Operation, float], with_layout: bool
) -> NDArray[np.float64]:
    """Sums the shares of each network's operations: float64 `[N, 3]`."""
    return np.array([np.sum([shares(o, lookup, with_layout) for o in operations], axis=0) for operations in networks])


def fit(parts: NDArray[np.float64], measured: NDArray[np.float64]) -> Correction:
    """Fits the coefficients by least squares of the relative error.

    Args:
        parts: From `features`, float64 `[N, 3]`.
        measured: Latencies of the same whole networks in microseconds, float64 `[N]`.

    Returns:
        The correction; no coefficient is negative, and not more than the layout changes is taken off.

    Raises:
        ValueError: The networks' latencies do not grow with those of their operations.
    """
    design = np.column_stack([np.ones(len(parts)), parts[:, 0], parts[:, 1], -parts[:, 2]]) / measured[:, None]
    coefficients = _bounded_least_squares(design)
    if coefficients[1] == 0:
        # Too few or too noisy networks to tell weighted operations from the others: one scale serves both.
        merged = _bounded_least_squares(np.column_stack([design[:, 0], design[:, 1] + design[:, 2], design[:, 3]]))
        coefficients = merged[[0, 1, 1, 2]]
    if coefficients[1] == 0:
        raise ValueError(
            f"the latencies of the {len(measured)} whole networks do not grow with those of their operations; "
            "measure again on an idle machine, or more networks"
        )
    return Correction(*(float(c) for c in coefficients))


def _bounded_least_squares(design: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fits a right side of ones: no coefficient is negative, and the last, of layout changes, is at most 1."""
    from scipy.optimize import lsq_linear

    used = np.abs(design).sum(axis=0) > 0
    upper = np.append(np.full(design.shape[1] - 1, np.inf), 1.0)
    solution = lsq_linear(design[:, used], np.ones(len(design)), bounds=(0, upper[used]), method="bvls")
    coefficients = np.zeros(design.shape[1])
    coefficients[used] = solution.x
    return np.round(coefficients, 4)


def errors(
    predicted: NDArray[np.float64], measured: NDArray[np.float64], uncorrected: NDArray[np.float64]
) -> dict[str, Any]:
    """States how far predictions are from measurements of whole networks; all arguments in us, float64 `[N]`."""
    ratio = predicted / measured
    order = np.sign(predicted[:, None] - predicted) * np.sign(measured[:, None] - measured)
    pairs = len(measured) * (len(measured) - 1)
    return {
        "checked_on": f"{len(measured)} whole networks of other strategies of all sizes, measured in the same rounds",
        "predicted_over_measured": {
            "median": round(float(np.median(ratio)), 4),
            "lowest": round(float(ratio.min()), 4),
            "highest": round(float(ratio.max()), 4),
        },
        "median_absolute_error": round(float(np.median(np.abs(ratio - 1))), 4),
        "p95_absolute_error": round(float(np.quantile(np.abs(ratio - 1), 0.95)), 4),
        "kendall_tau": round(float(order.sum() / pairs), 4),
        "uncorrected_sum_over_measured": round(float(np.median(uncorrected / measured)), 4),
        "measured_us": {"lowest": round(float(measured.min()), 1), "highest": round(float(measured.max()), 1)},
    }


def medians(table: Mapping[Operation, Measurement]) -> dict[Operation, float]:
    """Returns the medians of a table in microseconds."""
    return {operation: measurement.median_us for operation, measurement in table.items()}
