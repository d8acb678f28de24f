"""A picture of a latency table: measured time over channel counts, one panel a shape."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from compress_gym.devices.device import Device
from compress_gym.devices.interpolate import with_channels
from compress_gym.devices.operations import Operation
from compress_gym.support.cards import write_atomically
from compress_gym.support.errors import needing

_PANELS = 12
_LINES = 4


def plot_device(device: Device, path: Path) -> None:
    """Draws the median of each convolution over its output channels, for a few input channels each, as a PNG.

    Raises:
        ImportError: matplotlib is not installed.
    """
    with needing("matplotlib", "render", "drawing a device"):
        import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shapes: dict[Operation, list[Operation]] = defaultdict(list)
    for operation in device.table:
        if operation.kind in ("conv", "depthwise"):
            shapes[with_channels(operation, 0, 0)].append(operation)
    largest = sorted(shapes, key=lambda shape: -len(shapes[shape]))[:_PANELS]
    columns = min(3, max(1, len(largest)))
    rows = max(1, -(-len(largest) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(largest) :]:
        axis.set_axis_off()
    for axis, shape in zip(axes.flat, largest, strict=False):
        title = f"{shape.kind} {shape.kernel}x{shape.kernel}, stride {shape.stride}, {shape.in_height}x{shape.in_width}"
        title += f", {shape.weight_bits} bits"
        axis.set(title=title, xlabel="output channels", ylabel="us")
        inputs = sorted({o.in_channels for o in shapes[shape]})
        if shape.kind == "depthwise":
            _line(axis, device, shapes[shape], "")
            continue
        for count in inputs[:: -max(1, len(inputs) // _LINES)]:
            _line(axis, device, [o for o in shapes[shape] if o.in_channels == count], f"from {count}")
        axis.legend(fontsize="small")
    figure.suptitle(f"{device.name}: isolated operations, uncorrected")
    write_atomically(path, lambda p: figure.savefig(p, dpi=100, format="png"))
    plt.close(figure)


def _line(axis: object, device: Device, operations: list[Operation], label: str) -> None:
    ordered = sorted(operations, key=lambda o: o.out_channels)
    times = [device.table[o].us for o in ordered]
    axis.plot([o.out_channels for o in ordered], times, ".-", label=label)  # type: ignore[attr-defined]
