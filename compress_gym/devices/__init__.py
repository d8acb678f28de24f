"""Devices: measured latency tables, and the profiler that makes them."""

from compress_gym.devices.device import Device, list_devices, load_device
from compress_gym.devices.operations import CALL, Measurement, Operation, operation_of

__all__ = [
    "CALL",
    "Device",
    "Measurement",
    "Operation",
    "list_devices",
    "load_device",
    "operation_of",
]
