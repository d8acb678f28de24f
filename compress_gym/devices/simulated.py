"""Published accelerators as devices: latency and energy from a simulator instead of a table."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from typing import Any, Protocol

from compress_gym.devices import energy
from compress_gym.devices.hardware import ByContent
from compress_gym.devices.operations import Operation
from compress_gym.devices.simulators import BISMO_PRESETS, BitFusion
from compress_gym.problem.decisions import BitValues


class Simulator(Protocol):
    """What a simulator says of one operation."""

    def cost(self, operation: Operation) -> tuple[float, float]:
        """Returns latency in microseconds and energy in millijoules."""
        ...


@dataclass(frozen=True, eq=False)
class SimulatedDevice(ByContent):
    """A simulated accelerator.

    Attributes:
        name: Name of the device.
        simulator: Where its numbers come from.
        bits: Bits of weights and activations, where a strategy does not choose them.
        batch: Inputs a call.
        card: Provenance.
        bit_values: Which bits a strategy can choose.
    """

    name: str
    simulator: Simulator
    bits: tuple[int, int] = (8, 8)
    batch: int = 1
    card: dict[str, Any] = field(default_factory=dict)
    bit_values: BitValues | None = None
    kind: str = "accelerator"
    network_us: float = 0.0

    @cached_property
    def _cost(self) -> Callable[[Operation], tuple[float, float]]:
        # Many layers of many strategies are the same operation.
        return cache(self.simulator.cost)

    @cached_property
    def digest(self) -> str:
        """16 hex digits over the simulator's parameters and code, and what it is asked by default.

        Whatever changes in a simulator's file or in `energy.py`, even a comment, makes entries and runs outdated.
        """
        code = "".join(inspect.getsource(module) for module in (import_module(type(self.simulator).__module__), energy))
        return hashlib.sha256(f"{self.simulator!r} {self.bits} {self.batch}\n{code}".encode()).hexdigest()[:16]

    def latency_us(self, operation: Operation) -> float:
        """Returns an operation's latency in microseconds.

        Raises:
            ValueError: The accelerator lacks the bits.
        """
        return self._cost(operation)[0]

    def energy_mj(self, operation: Operation) -> float:
        """Returns an operation's energy in millijoules.

        Raises:
            ValueError: The accelerator lacks the bits.
        """
        return self._cost(operation)[1]

    def source(self, operation: Operation) -> str:
        """Returns `simulated`."""
        return "simulated"


def _bitfusion() -> SimulatedDevice:
    card = {
        "what": "simulated accelerator Bit Fusion (Sharma et al., ISCA 2018): a systolic array of 2-bit bricks",
        "kind": "accelerator",
        "hardware": "simulator",
        "runtime": "simulator",
        "energy": "simulated",
        "checked_against": "APQ's published latency and energy table; see benchmarks/results/simulators",
    }
    # 6 bits run as 8, and 16 are more than a network's 8.
    return SimulatedDevice("bitfusion", BitFusion(), card=card, bit_values=BitValues((2, 4, 8)))


def _bismo(name: str, simulator: Simulator) -> SimulatedDevice:
    card = {
        "what": f"simulated accelerator BISMO, {name} size (Umuroglu et al., FPL 2018): bit-serial matrix products",
        "kind": "accelerator",
        "hardware": "simulator",
        "runtime": "simulator",
        "energy": "simulated",
        "checked_against": "the shape of HAQ's published precision curve; see benchmarks/results/simulators",
    }
    # A single bit is more than rounding: binary networks are trained as such.
    return SimulatedDevice(f"bismo-{name}", simulator, card=card, bit_values=BitValues(tuple(range(2, 9))))


SIMULATED: dict[str, Callable[[], SimulatedDevice]] = {
    "bitfusion": _bitfusion,
    "bismo-edge": lambda: _bismo("edge", BISMO_PRESETS["edge"]),
    "bismo-cloud": lambda: _bismo("cloud", BISMO_PRESETS["cloud"]),
}
