"""What every device is to the rest of the package: a measured table or a simulator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

from compress_gym.devices.operations import Operation
from compress_gym.problem.network_decisions import BitValues

DEVICE_KINDS = ("cpu", "gpu", "accelerator")
# Latencies that stand between or outside of measured ones; an environment says how many there are.
ESTIMATED = ("interpolated", "analytic")


class Hardware(ABC):
    """Latency and energy of operations.

    Devices with the same name and the same digest are the same: what was computed with one serves the other.

    Attributes:
        name: Name of the device.
        kind: `cpu`, `gpu` or `accelerator`.
        bits: Bits of weights and activations, where a strategy does not choose them.
        batch: Inputs a call.
        card: The provenance.
    """

    name: str
    kind: str
    bits: tuple[int, int]
    batch: int
    card: dict[str, Any]

    @property
    @abstractmethod
    def bit_values(self) -> BitValues | None:
        """Which bits a strategy can choose; `None`: it has no choice."""

    @property
    @abstractmethod
    def network_us(self) -> float:
        """Microseconds a whole network costs beyond its operations."""

    @cached_property
    @abstractmethod
    def digest(self) -> str:
        """16 hex digits that change with anything that changes a latency."""

    @abstractmethod
    def latency_us(self, operation: Operation) -> float:
        """Returns an operation's share of a network's latency, in microseconds."""

    @abstractmethod
    def energy_mj(self, operation: Operation) -> float:
        """Returns an operation's energy in millijoules."""

    @abstractmethod
    def source(self, operation: Operation) -> str:
        """Returns how an operation's latency was made: `measured`, `simulated`, or one of `ESTIMATED`."""

    def __eq__(self, other: object) -> bool:
        """Compares by content."""
        return isinstance(other, Hardware) and (self.name, self.digest) == (other.name, other.digest)

    def __hash__(self) -> int:
        """Hashes the content."""
        return hash((self.name, self.digest))
