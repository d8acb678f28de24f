"""What the simulated accelerators have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import astuple
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from compress_gym.devices.energy import CONVOLUTION, FREE, LINEAR, operation_numbers
from compress_gym.devices.operations import Operation


class Accelerator(ABC):
    """A simulator; classes derived from it are dataclasses of its parameters."""

    title: ClassVar[str]
    legal_bits: ClassVar[tuple[int, ...]]

    @staticmethod
    @abstractmethod
    def simulate(constants: NDArray[np.float64], *numbers: int) -> tuple[float, float]:
        """Returns latency in microseconds and energy in millijoules; takes what `operation_numbers` returns."""

    @cached_property
    def constants(self) -> NDArray[np.float64]:
        """Returns the parameters as `simulate` takes them, in order of the attributes."""
        parameters: Any = self
        return np.array(astuple(parameters), dtype=np.float64)

    def cost(self, operation: Operation) -> tuple[float, float]:
        """Simulates one call of an operation.

        Returns:
            Latency in microseconds and energy in millijoules.

        Raises:
            ValueError: A bit width is not one of `legal_bits`, or no weights fit the buffers.
        """
        numbers = operation_numbers(operation)
        weighted, active = numbers[0] in (CONVOLUTION, LINEAR), numbers[0] != FREE
        for name, matters in (("weight_bits", weighted), ("activation_bits", active)):
            if matters and getattr(operation, name) not in self.legal_bits:
                legal = ", ".join(map(str, self.legal_bits))
                raise ValueError(f"{name}={getattr(operation, name)} of {operation}: {self.title} has {legal}")
        latency_us, energy_mj = self.simulate(self.constants, *numbers)
        if not math.isfinite(latency_us):
            raise ValueError(f"kernel={operation.kernel} of {operation}: its weights do not fit {self.title}'s buffers")
        return float(latency_us), float(energy_mj)
