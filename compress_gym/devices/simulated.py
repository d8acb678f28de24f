"""Published accelerators as devices: latency and energy from a simulator instead of a table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

from compress_gym.devices.energy import CONVOLUTION, KIND_CODES, LINEAR
from compress_gym.devices.hardware import Hardware
from compress_gym.devices.operations import Operation
from compress_gym.devices.simulators import BISMO_PRESETS, BitFusion
from compress_gym.devices.simulators.accelerator import Accelerator
from compress_gym.problem.network_decisions import BitValues

# What a digest asks a simulator: every kind, with groups, strides and several inputs, and too large for the buffers.
_ASKED = (
    Operation("conv", 3, 8, 3, in_height=8, in_width=8),
    Operation("conv", 40, 72, 3, 2, in_height=5, in_width=7, batch=2),
    Operation("conv", 512, 512, in_height=4, in_width=4),
    Operation("conv", 24, 48, 3, groups=4, in_height=6, in_width=6),
    Operation("depthwise", 96, 96, 5, groups=96, in_height=9, in_width=9),
    Operation("linear", 64, 10, in_height=2, in_width=2),
    Operation("linear", 4096, 1024),
    *(
        Operation(kind, 12, 12, 2, 2, in_height=6, in_width=8, batch=2)
        for kind, code in KIND_CODES.items()
        if code not in (CONVOLUTION, LINEAR)
    ),
)
_ASKED_BITS = ((1, 1), (2, 4), (3, 5), (6, 6), (8, 8), (16, 16), (32, 32))
# Stored runs and entries name the shipped simulators by digests of their code; these stay while the answers do.
_RECORDED = {
    "c5eba96334c785d7": "45d19e2bd1c1041c",  # bitfusion
    "f2c42c5c26ee228b": "76af906f4dc3fe7f",  # bismo-edge
    "0013b2ec61541680": "b52b63576ad4a6cb",  # bismo-cloud
}


@dataclass(frozen=True, eq=False)
class SimulatedDevice(Hardware):
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
    simulator: Accelerator
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
        """16 hex digits over the simulator's parameters, what it is asked by default, and answers that it gives.

        Code that moves or is written anew and answers alike changes nothing.
        """
        content = [f"{self.simulator!r} {self.bits} {self.batch}", *self._answers()]
        found = hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]
        return _RECORDED.get(found, found)

    def _answers(self) -> list[str]:
        """Returns what the simulator says of `_ASKED`, to 12 digits: the last ones may be another processor's."""
        answers = []
        for operation in _ASKED:
            for weight_bits, activation_bits in _ASKED_BITS:
                asked = replace(operation, weight_bits=weight_bits, activation_bits=activation_bits)
                try:
                    answers.append(" ".join(f"{cost:.12g}" for cost in self.simulator.cost(asked)))
                except ValueError:
                    answers.append("refused")
        return answers

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


def _accelerator(
    name: str, simulator: Accelerator, what: str, source: str, bits: tuple[int, ...]
) -> Callable[[], SimulatedDevice]:
    card = {
        "what": f"simulated accelerator {what}",
        "kind": "accelerator",
        "hardware": "simulator",
        "runtime": "simulator",
        "energy": "simulated",
        "checked_against": f"{source}; see benchmarks/results/simulators",
    }
    return lambda: SimulatedDevice(name, simulator, card=dict(card), bit_values=BitValues(bits))


def _bismo(size: str) -> Callable[[], SimulatedDevice]:
    what = f"BISMO, {size} size (Umuroglu et al., FPL 2018): bit-serial matrix products"
    source = "the shape of HAQ's published precision curve"
    # A single bit is more than rounding: binary networks are trained as such.
    return _accelerator(f"bismo-{size}", BISMO_PRESETS[size], what, source, tuple(range(2, 9)))


SIMULATED: dict[str, Callable[[], SimulatedDevice]] = {
    "bitfusion": _accelerator(
        "bitfusion",
        BitFusion(),
        "Bit Fusion (Sharma et al., ISCA 2018): a systolic array of 2-bit bricks",
        "APQ's published latency and energy table",
        (2, 4, 8),  # 6 bits run as 8, and 16 are more than a network's 8
    ),
    "bismo-edge": _bismo("edge"),
    "bismo-cloud": _bismo("cloud"),
}
