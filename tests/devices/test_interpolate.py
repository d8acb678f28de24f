from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from compress_gym.devices import Device, Operation, list_devices, load_device
from compress_gym.devices.device import _Times
from compress_gym.devices.interpolate import ChannelGrid
from compress_gym.devices.operations import CALL

CONV = Operation("conv", 4, 4, 3, 1, 1, 8, 8)


def conv(i, o):
    return replace(CONV, in_channels=i, out_channels=o)


DOCS = Path(__file__).parents[2] / "docs" / "devices.md"


def depthwise(c):
    return Operation("depthwise", c, c, 3, 1, c, 8, 8)


def test_bilinear_between_counts_and_nothing_outside():
    times = {conv(i, o): 2.0 * i + 3.0 * o + 5 for i, o in product((4, 8, 16), (8, 16))}
    grid = ChannelGrid(times)
    for i, o in ((4, 8), (6, 8), (6, 9), (15, 12)):
        assert grid.time(conv(i, o)) == pytest.approx(2.0 * i + 3.0 * o + 5)
    for outside in (conv(3, 8), conv(17, 8), conv(8, 7), conv(8, 17), replace(conv(8, 8), stride=2), depthwise(8)):
        assert grid.time(outside) is None


def test_a_missing_corner_is_not_made_up():
    times = {conv(i, o): 1.0 for i, o in product((4, 8), (4, 8))}
    del times[conv(8, 8)]
    assert ChannelGrid(times).time(conv(6, 6)) is None and ChannelGrid(times).time(conv(4, 6)) == 1.0


def test_depthwise_follows_its_channels():
    grid = ChannelGrid({depthwise(c): float(c) for c in (8, 16, 32)})
    assert grid.time(depthwise(12)) == pytest.approx(12) and grid.time(depthwise(40)) is None


def test_a_device_refuses_what_lies_outside():
    times = _Times("mine", {CALL: 1.0, conv(4, 4): 3.0, conv(8, 4): 5.0})
    assert times[conv(6, 4)] == 4.0
    with pytest.raises(ValueError, match="device='mine' has no measurement of conv 9->4.*compress-gym profile"):
        times[conv(9, 4)]


@pytest.mark.parametrize("name", list_devices(Device, shipped=True))
def test_interpolation_of_measurements_held_back(name):
    """Every channel count is held back and interpolated from its neighbours; docs/devices.md states the error."""
    times = {o: m.us for o, m in load_device(name).table.items() if o.kind == "conv"}
    rows = defaultdict(list)  # operations that differ in their input channels alone
    for operation in times:
        rows[replace(operation, in_channels=0)].append(operation)
    ratios = []
    for row in rows.values():
        row.sort(key=lambda o: o.in_channels)
        for place in range(1, len(row) - 1):
            grid = ChannelGrid({o: times[o] for o in row if o != row[place]})
            ratios.append(grid.time(row[place]) / times[row[place]])
    error = np.median(np.abs(np.array(ratios) - 1))
    if f"{100 * error:.1f} % on `{name}`" not in " ".join(DOCS.read_text().split()):
        raise ValueError(f"docs/devices.md must say that interpolation is off by {100 * error:.1f} % on {name}")
    assert len(ratios) > 50 and error < 0.08
