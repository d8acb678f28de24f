"""What every device is to the rest of the package: a measured table or a simulator."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

from compress_gym.devices.operations import Operation
from compress_gym.problem.decisions import BitValues

DEVICE_KINDS = ("cpu", "gpu", "accelerator")
# Latencies that stand between or outside of measured ones; an environment says how many there are.
ESTIMATED = ("interpolated", "analytic")


class Hardware(Protocol):
    """Latency and energy of operations; equal devices give equal ones."""

    def __hash__(self) -> int:
        """Of the name and the digest; see `ByContent`."""
        ...

    @property
    def name(self) -> str:
        """Name of the device."""
        ...

    @property
    def kind(self) -> str:
        """`cpu`, `gpu` or `accelerator`."""
        ...

    @property
    def bits(self) -> tuple[int, int]:
        """Bits of weights and activations, where a strategy does not choose them."""
        ...

    @property
    def bit_values(self) -> BitValues | None:
        """Which bits a strategy can choose; `None`: it has no choice."""
        ...

    @property
    def batch(self) -> int:
        """Inputs a call."""
        ...

    @property
    def card(self) -> dict[str, Any]:
        """The provenance."""
        ...

    @property
    def digest(self) -> str:
        """16 hex digits that change with anything that changes a latency."""
        ...

    @property
    def network_us(self) -> float:
        """Microseconds a whole network costs beyond its operations."""
        ...

    def latency_us(self, operation: Operation) -> float:
        """Returns an operation's share of a network's latency, in microseconds."""
        ...

    def energy_mj(self, operation: Operation) -> float:
        """Returns an operation's energy in millijoules."""
        ...

    def source(self, operation: Operation) -> str:
        """Returns how an operation's latency was made: `measured`, `simulated`, or one of `ESTIMATED`."""
        ...


class ByContent:
    """Devices with the same name and the same digest are the same: what was computed with one serves the other."""

    name: str

    @cached_property
    def digest(self) -> str:
        """As of `Hardware`."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        """Compares by content."""
        return isinstance(other, ByContent) and (self.name, self.digest) == (other.name, other.digest)

    def __hash__(self) -> int:
        """Hashes the content."""
        return hash((self.name, self.digest))
