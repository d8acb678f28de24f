"""What an agent sees: names, absolute scales, and the part of it that does not change during an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import NDArray

from compress_gym.networks import Layer, Network
from compress_gym.problem.costs import CostTerms
from compress_gym.problem.decisions import DECISION_KINDS, DecisionSpace

OBSERVED_LAYER_KINDS = ("conv", "depthwise", "linear")
# Logarithmic features reach 1 at these values and saturate there.
CHANNELS_AT_1 = 4096
KERNEL_AT_1 = 8
STRIDE_AT_1 = 8
PIXELS_AT_1 = 2**16
PARAMETERS_AT_1 = 2**24
VALUES_AT_1 = 16
THROUGHPUT_AT_1 = 1e15

SHAPE_NAMES = (
    *(f"layer_is_{kind}" for kind in OBSERVED_LAYER_KINDS),
    *("in_channels", "out_channels", "kernel", "stride", "input_pixels", "parameters"),
)
SHARES = ("macs", "params", "size_bytes", "bops", "latency_ms", "energy_mj")
SHARE_NAMES = (*(f"share_of_{cost}" for cost in SHARES), "share_of_bounded_cost")
DEVICE_NAMES = ("device_is_cpu", "device_is_gpu", "device_is_accelerator", "device_throughput")
DYNAMIC_NAMES = ("spent", "least_total", "most_total", "budget")


@dataclass(frozen=True, eq=False)
class ExtraFeatures:
    """What else is seen of each decision.

    Attributes:
        names: Of the columns.
        values: float32 `[T, columns]` in [0, 1].
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Checks names and values.

        Raises:
            ValueError: There is not one column for each name, or a value is out of range.
        """
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names):
            raise ValueError(f"values have shape {self.values.shape}; expected [T, {len(self.names)}]")
        if not ((self.values >= 0) & (self.values <= 1)).all():
            raise ValueError(f"values of {list(self.names)} must be within 0 and 1")


def static_names(kinds: Sequence[str], extra: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the names of the columns that only depend on the step."""
    kind_names = tuple(f"decides_{kind}" for kind in kinds) if len(kinds) > 1 else ()
    return ("position", *SHAPE_NAMES, *kind_names, "values", *SHARE_NAMES, *extra, *DEVICE_NAMES)


def observation_names(kinds: Sequence[str], slots: int, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the names of all columns, in order."""
    previous = tuple(f"previous_action_{a}" for a in range(slots)) if slots > 1 else ("previous_action",)
    return (*static_names(kinds, extra), *DYNAMIC_NAMES, *previous)


def shape_features(network: Network, decisions: DecisionSpace) -> NDArray[np.float32]:
    """Describes each decision's layer, a group's is its first producer, float32 `[T, len(SHAPE_NAMES)]` in [0, 1]."""
    producer = {group.name: group.producers[0] for group in network.groups}
    rows = [_layer_row(network.layer(producer.get(d.subject, d.subject))) for d in decisions.decisions]
    return np.array(rows, dtype=np.float32)


def device_features(kind: str, macs: float, latency_ms: float) -> NDArray[np.float32]:
    """Describes a device, float32 `[len(DEVICE_NAMES)]` in [0, 1].

    Args:
        kind: `cpu`, `gpu` or `accelerator`.
        macs: Multiply-accumulates of the uncompressed network; the MACs a second that it reaches on them are told.
        latency_ms: The network's latency in milliseconds.
    """
    kinds = [float(kind == known) for known in ("cpu", "gpu", "accelerator")]
    return np.array([*kinds, _log(macs / latency_ms * 1000, THROUGHPUT_AT_1)], dtype=np.float32)


def static_features(
    decisions: DecisionSpace,
    steps: Sequence[Sequence[int]],
    kinds: Sequence[str],
    shapes: NDArray[np.float32],
    device: NDArray[np.float32],
    terms: CostTerms,
    bounded: str,
    extra: ExtraFeatures | None = None,
) -> NDArray[np.float32]:
    """Assembles the columns that only depend on the step.

    A step with several decisions describes the layer of its first one, the largest number of values that any of them
    has, and the costs that any of them touches. The row after the last step is what the
    terminal observation shows: position 1, no layer.

    Returns:
        float32 `[steps + 1, columns]` in [0, 1].
    """
    names = static_names(kinds, extra.names if extra else ())
    rows = np.zeros((len(steps) + 1, len(names)), dtype=np.float32)
    rows[:, 0] = np.arange(len(steps) + 1) / len(steps)
    rows[:, -len(device) :] = device
    baseline = decisions.uncompressed
    for row, step in zip(rows, steps, strict=False):
        made = {decisions.decisions[t].kind for t in step}
        decided = [float(kind in made) for kind in kinds] if len(kinds) > 1 else []
        values = _log(max(len(decisions.decisions[t].values) for t in step), VALUES_AT_1)
        shares = [_share(terms, metric, step, baseline) for metric in (*SHARES, bounded)]
        more = extra.values[step[0]] if extra else ()
        row[1 : len(names) - len(device)] = [*shapes[step[0]], *decided, values, *shares, *more]
    return rows


def kinds_of(decisions: DecisionSpace) -> tuple[str, ...]:
    """Returns the kinds of decision that occur, in the order of `DECISION_KINDS`."""
    present = {d.kind for d in decisions.decisions}
    return tuple(kind for kind in DECISION_KINDS if kind in present)


def _layer_row(layer: Layer) -> list[float]:
    weights = layer.weights(layer.in_channels, layer.out_channels)
    return [
        *(float(layer.kind == kind) for kind in OBSERVED_LAYER_KINDS),
        _log(layer.in_channels, CHANNELS_AT_1),
        _log(layer.out_channels, CHANNELS_AT_1),
        _log(layer.kernel, KERNEL_AT_1),
        _log(layer.stride, STRIDE_AT_1),
        _log(layer.in_height * layer.in_width, PIXELS_AT_1),
        _log(weights, PARAMETERS_AT_1),
    ]


def _log(value: float, at_1: float) -> float:
    return min(1.0, log2(max(value, 1.0)) / log2(at_1))


def _share(terms: CostTerms, metric: str, step: Sequence[int], baseline: NDArray[np.int64]) -> float:
    """Share of the uncompressed cost that lies in terms which depend on any of a step's decisions."""
    if metric not in terms.metrics:
        return 0.0
    column, total, own = terms.column(metric), 0.0, 0.0
    for offset, length, *pairs in terms.terms.tolist():
        row = offset + sum(pairs[2 * d + 1] * int(baseline[pairs[2 * d]]) for d in range(length))
        total += terms.tables[row, column]
        own += terms.tables[row, column] * any(t in pairs[: 2 * length : 2] for t in step)
    return own / total if total > 0 else 0.0
