"""Fits the coefficients of a device of transformers, states their error and writes them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.published.hat import HatTable
from compress_gym.devices.transformer_latency import FEATURES
from compress_gym.support.cards import write_atomically
from compress_gym.support.statistics import kendall_tau


def hat_features(table: HatTable) -> NDArray[np.float64]:
    """Returns the features of HAT's transformers, `[rows, features]`: averages times layers are sums."""
    e, layers, ffn, heads, d, depth, decoder_ffn, self_heads, cross_heads, spans = table.features.T
    ffn, heads = ffn * layers, heads * layers
    decoder_ffn, self_heads, cross_heads, spans = (x * depth for x in (decoder_ffn, self_heads, cross_heads, spans))
    columns = [np.ones_like(e), e, d, ffn, heads, e * ffn, e * heads]
    columns += [depth, decoder_ffn, self_heads, d * depth, d * decoder_ffn, d * self_heads]
    columns += [cross_heads, spans, d * cross_heads, d * spans, e * cross_heads, e * spans]
    return np.stack(columns, axis=1)


def fit_coefficients(
    features: NDArray[np.float64], latency_ms: NDArray[np.float64], relative: bool = False
) -> NDArray[np.float64]:
    """Fits coefficients by least squares that are not negative: milliseconds of one unit of each feature, `[features]`.

    Relative errors are minimised if so wished, instead of those in milliseconds.
    """
    from scipy.optimize import nnls

    weights = 1 / latency_ms if relative else np.ones(len(latency_ms))
    scale = features.max(axis=0)
    solution, _ = nnls(features / scale * weights[:, None], latency_ms * weights)
    return solution / scale


def latency_errors(predicted_ms: NDArray[np.float64], measured_ms: NDArray[np.float64]) -> dict[str, Any]:
    """States how far predictions `[N]` are from measurements `[N]`, both in milliseconds."""
    ratio = predicted_ms / measured_ms
    return {
        "median_absolute_error": round(float(np.median(np.abs(ratio - 1))), 4),
        "p95_absolute_error": round(float(np.quantile(np.abs(ratio - 1), 0.95)), 4),
        "kendall_tau": round(kendall_tau(predicted_ms, measured_ms), 4),
        "measured_ms": {"lowest": round(float(measured_ms.min()), 3), "highest": round(float(measured_ms.max()), 3)},
    }


def write_coefficients(path: Path, metrics: tuple[str, ...], coefficients: NDArray[np.float64]) -> None:
    """Writes coefficients `[features, metrics]` as CSV."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["feature", *metrics])
    for name, row in zip(FEATURES, coefficients, strict=True):
        writer.writerow([name, *(f"{x:.6e}" for x in row)])
    write_atomically(path, lambda p: p.write_text(lines.getvalue()))
