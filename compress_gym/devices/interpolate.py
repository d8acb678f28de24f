"""Times of channel counts between measured ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from compress_gym.devices.operations import BOUNDARIES, Operation

# Kinds whose input and output channels are the same number.
_OF_ONE_COUNT = ("depthwise", "add", "multiply", "pool", "max-pool", "avg-pool", "batch-norm", "concat", "layout")
_SQUARE = (*_OF_ONE_COUNT, *BOUNDARIES)


class ChannelGrid:
    """The channel counts that were measured of each shape.

    A time between measured counts is interpolated linearly, in both directions for a layer with two counts. All
    corners must have been measured; nothing is extrapolated.
    """

    def __init__(self, times: Mapping[Operation, float]) -> None:
        """Sorts the measured counts by shape.

        Args:
            times: Microseconds of each measured operation.
        """
        self._times = times
        inputs: dict[Operation, set[int]] = defaultdict(set)
        outputs: dict[Operation, set[int]] = defaultdict(set)
        for operation in times:
            shape = with_channels(operation, 0, 0)
            inputs[shape].add(operation.in_channels)
            outputs[shape].add(operation.out_channels)
        self._inputs = {shape: sorted(counts) for shape, counts in inputs.items()}
        self._outputs = {shape: sorted(counts) for shape, counts in outputs.items()}

    def time(self, operation: Operation) -> float | None:
        """Returns the interpolated time in microseconds; `None` outside of what was measured."""
        shape = with_channels(operation, 0, 0)
        if shape not in self._inputs:
            return None
        around_in = _neighbours(self._inputs[shape], operation.in_channels)
        around_out = _neighbours(self._outputs[shape], operation.out_channels)
        if around_in is None or around_out is None:
            return None
        if operation.kind in _SQUARE:
            around_out = [(1.0, -1)]  # the output follows the input
        total = 0.0
        for weight_in, count_in in around_in:
            for weight_out, count_out in around_out:
                corner = with_channels(operation, count_in, count_in if count_out < 0 else count_out)
                if corner not in self._times:
                    return None
                total += weight_in * weight_out * self._times[corner]
        return total


def with_channels(operation: Operation, in_channels: int, out_channels: int) -> Operation:
    """Returns an operation of other channel counts; with none, what those share that differ in them alone."""
    groups = in_channels if operation.kind == "depthwise" else operation.groups
    return replace(operation, in_channels=in_channels, out_channels=out_channels, groups=groups)


def _neighbours(counts: list[int], wanted: int) -> list[tuple[float, int]] | None:
    """Returns the measured counts around a wanted one with their weights; `None` outside of them."""
    if wanted in counts:
        return [(1.0, wanted)]
    lower = [count for count in counts if count < wanted]
    upper = [count for count in counts if count > wanted]
    if not lower or not upper:
        return None
    low, high = lower[-1], upper[0]
    share = (wanted - low) / (high - low)
    return [(1 - share, low), (share, high)]
