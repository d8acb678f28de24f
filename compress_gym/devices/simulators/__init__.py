"""Published accelerators, simulated: latency and energy of an operation at the bit widths they support."""

from compress_gym.devices.simulators.bismo import BISMO_PRESETS, Bismo, bismo_cost
from compress_gym.devices.simulators.bitfusion import BitFusion, bitfusion_cost

__all__ = ["BISMO_PRESETS", "Bismo", "BitFusion", "bismo_cost", "bitfusion_cost"]
