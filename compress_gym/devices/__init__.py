"""Devices: measured latency tables, simulated accelerators, and latencies of whole transformers."""

from compress_gym.devices.device import (
    AnyDevice,
    Device,
    list_devices,
    load_device,
    of_operations,
    of_transformers,
    read_table,
    user_tables,
)
from compress_gym.devices.hardware import ESTIMATED, Hardware
from compress_gym.devices.operations import CALL, Measurement, Operation, operation_of
from compress_gym.devices.published import PublishedTable, read_published
from compress_gym.devices.simulated import SimulatedDevice
from compress_gym.devices.transformer_latency import TransformerDevice

__all__ = [
    "CALL",
    "ESTIMATED",
    "AnyDevice",
    "Device",
    "Hardware",
    "Measurement",
    "Operation",
    "PublishedTable",
    "SimulatedDevice",
    "TransformerDevice",
    "list_devices",
    "load_device",
    "of_operations",
    "of_transformers",
    "operation_of",
    "read_published",
    "read_table",
    "user_tables",
]
