"""What the kinds that compress convolutional networks share."""

from __future__ import annotations

from typing import Any

from compress_gym.devices import Device, SimulatedDevice, list_devices, load_device, of_operations
from compress_gym.devices.costs.network import network_cost_terms
from compress_gym.kinds.shared.kind import Options
from compress_gym.problem.decisions import BIT_WIDTHS, steps_by_layer
from compress_gym.problem.network_decisions import BitValues
from compress_gym.problem.observations import shape_features

# Fields of `Kind` that are the same for all of them.
NETWORKS: dict[str, Any] = {
    "cost_terms": network_cost_terms,
    "features": shape_features,
    "steps": steps_by_layer,
    "scorer": "compress_gym.live.scorer:build",
    "compressor": "compress_gym.live.compressor:build",
    "train": "compress_gym.making.train:train",
    "profile": "compress_gym.making.profile.networks",
    "sensitivity": "compress_gym.making.sensitivity:measure_sensitivities",
}
# HAQ's device, on which latency follows bits.
BITS_DEVICE = "bismo-edge"


def levels_of(options: Options) -> int:
    """Returns the most channel counts of a group."""
    levels = options.get("levels", 16)
    if not isinstance(levels, int) or levels < 1:
        raise ValueError(f"levels={levels!r} must be a whole number of at least 1")
    return levels


def bits_of(options: Options) -> BitValues:
    """Returns the bits to choose from."""
    bits = options.get("bits", BIT_WIDTHS)
    return bits if isinstance(bits, BitValues) else BitValues(tuple(bits))


def restricted_bits(options: Options, wanted: Options, device: Any) -> Options:
    """Returns options with the wanted bits of those that a device has; by default all that scores are measured for.

    Raises:
        ValueError: The device leaves no choice of bits, or lacks the wanted ones.
    """
    device = None if device is None else of_operations(device)
    if device is None:
        offered = BitValues(BIT_WIDTHS)
    elif device.bit_values is None:
        names = list_devices(Device, SimulatedDevice)
        able = [name for name in names if of_operations(load_device(name)).bit_values is not None]
        raise ValueError(
            f"device={device.name!r} leaves no choice of bits, so there is nothing to decide; use one of {able}, or a "
            "table that holds operations of several precisions"
        )
    else:
        offered = device.bit_values
    bits, measured = wanted.get("bits"), options.get("bits", BIT_WIDTHS)
    if bits is None:
        chosen = offered if offered.paired else BitValues(tuple(b for b in offered.values if b in measured))
        return {**options, **wanted, "bits": chosen}
    given = () if isinstance(bits, int) else tuple(sorted(set(bits)))
    if len(given) < 2 or not set(given) <= set(offered.values):
        name = None if device is None else device.name
        raise ValueError(
            f"bits={bits!r} must be two or more of {list(offered.values)}, which device={name!r} has; with one there "
            "is nothing to choose"
        )
    return {**options, **wanted, "bits": BitValues(given, offered.paired)}
