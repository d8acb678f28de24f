"""Devices: measured latency tables, and the profiler that makes them."""

from compress_gym.devices.device import Device, list_devices, load_device, read_table, shipped_devices, user_tables
from compress_gym.devices.hardware import ESTIMATED, Hardware
from compress_gym.devices.operations import CALL, Measurement, Operation, operation_of
from compress_gym.devices.published import PublishedTable, read_published

__all__ = [
    "CALL",
    "ESTIMATED",
    "Device",
    "Hardware",
    "Measurement",
    "Operation",
    "PublishedTable",
    "list_devices",
    "load_device",
    "operation_of",
    "read_published",
    "read_table",
    "shipped_devices",
    "user_tables",
]
