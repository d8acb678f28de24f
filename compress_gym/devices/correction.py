"""From isolated operations to whole networks: the correction, fitted on some networks and checked on others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.costs.build import channel_cost_terms
from compress_gym.decisions import DecisionSpace
from compress_gym.devices.device import Device
from compress_gym.devices.operations import Measurement, Operation
from compress_gym.networks import Network


def isolated_sums(
    network: Network,
    decisions: DecisionSpace,
    strategies: NDArray[np.int64],
    table: dict[Operation, Measurement],
) -> NDArray[np.float64]:
    """Returns each strategy's sum of isolated operations, each less one call's overhead, in us, float64 `[N]`."""
    terms = channel_cost_terms(network, decisions, Device("uncorrected", "cpu", table, scale=1.0, network_us=0.0))
    return terms.evaluate(strategies)[:, terms.column("latency_ms")] * 1000


def fit(isolated: NDArray[np.float64], measured: NDArray[np.float64]) -> tuple[float, float]:
    """Fits `measured = scale * isolated + network_us` by least squares of the relative error.

    Args:
        isolated: From `isolated_sums`, float64 `[N]`.
        measured: Latencies of the same whole networks in us, float64 `[N]`.

    Returns:
        `scale` and `network_us`, neither negative.
    """
    design = np.stack([isolated, np.ones_like(isolated)], axis=1) / measured[:, None]
    (scale, network_us), *_ = np.linalg.lstsq(design, np.ones(len(measured)), rcond=None)
    if network_us < 0:
        ratio = isolated / measured
        scale, network_us = ratio.sum() / (ratio**2).sum(), 0.0
    return round(float(scale), 4), round(float(network_us), 3)


def errors(
    predicted: NDArray[np.float64], measured: NDArray[np.float64], uncorrected: NDArray[np.float64]
) -> dict[str, Any]:
    """States how far predictions are from measurements of whole networks; all arguments in us, float64 `[N]`."""
    ratio = predicted / measured
    order = np.sign(predicted[:, None] - predicted) * np.sign(measured[:, None] - measured)
    pairs = len(measured) * (len(measured) - 1)
    return {
        "checked_on": f"{len(measured)} whole networks of other random strategies, measured in the same rounds",
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
