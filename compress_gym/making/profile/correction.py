"""Fits a device's correction on some whole networks and states its error on others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.correction import Correction, MixedCorrection, shares
from compress_gym.devices.operations import BOUNDARIES, CALL, Operation
from compress_gym.support.statistics import kendall_tau

# Networks from which on the terms of bytes are fitted too.
_ENOUGH = 20


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
