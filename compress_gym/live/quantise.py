"""Uniform quantisation: scales of least squared error, and a torch model that computes as if its numbers were integers.

Weights are quantised per output channel and symmetric, inputs of a layer per tensor: unsigned where no value was
negative (after a ReLU), else symmetric. A number x becomes scale * clip(round(x / scale)). Batch norms need not be
folded before: a factor of a whole output channel changes its scale, not its integers.

Scales are those of least squared error among `CANDIDATES` equally spaced ones up to that of the largest value (weights
themselves; inputs from a histogram of what `RANGE_IMAGES` training images bring).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from compress_gym.live.hooks import run_with_hooks
from compress_gym.problem.decisions import FLOAT_BITS

BITS = range(2, 9)
RANGE_IMAGES = 512
CANDIDATES = 100
HISTOGRAM_BINS = 2048


def integer_range(bits: int, signed: bool) -> tuple[int, int]:
    """Returns the lowest and the highest integer of a width; signed ones are symmetric, as many below 0 as above.

    Raises:
        ValueError: The width is not one of `BITS`.
    """
    if bits not in BITS:
        raise ValueError(f"bits={bits} must be {BITS.start} to {BITS.stop - 1}, or {FLOAT_BITS} for full precision")
    highest = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    return (-highest if signed else 0), highest


def weight_scales(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Finds each output channel's scale of least squared error: positive, float32 `[out]`; 1 for channels of zeros."""
    rows = weight.detach().flatten(1).float().contiguous()
    low, highest = integer_range(bits, signed=True)
    whole = rows.abs().amax(1) / highest
    best, least = _usable(whole), torch.full_like(whole, torch.inf)
    for k in range(CANDIDATES, 0, -1):
        scales = _usable(whole * (k / CANDIDATES))
        # As `quantised_weight` rounds, which also notes where gradients pass and takes five times as long.
        rounded = (rows * (1 / scales)[:, None]).round_().clamp_(low, highest).mul_(scales[:, None])
        error = (rounded - rows).square_().sum(1)
        best, least = torch.where(error < least, scales, best), torch.minimum(error, least)
    return best


class RememberedScales:
    """`weight_scales`, looked up where the same weights were seen before: pruned networks share layers."""

    def __init__(self) -> None:
        """Remembers nothing yet."""
        self._found: dict[tuple[bytes, int, int], torch.Tensor] = {}

    def __call__(self, weight: torch.Tensor, bits: int) -> torch.Tensor:
        """Returns what `weight_scales` does."""
        rows = weight.detach().flatten(1).float().contiguous().numpy()
        key = hashlib.blake2b(rows.tobytes(), digest_size=16).digest(), len(rows), bits
        if key not in self._found:
            self._found[key] = weight_scales(weight, bits)
        return self._found[key]


def quantised_weight(weight: torch.Tensor, scales: torch.Tensor, bits: int) -> torch.Tensor:
    """Rounds a weight `[out, ...]` to multiples of its scales `[out]`; gradients go straight through, none is clipped.

    The gradient of a weight beyond the range is 0.
    """
    low, high = integer_range(bits, signed=True)
    zeros = torch.zeros(len(scales), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, low, high)


@dataclass(frozen=True)
class InputRange:
    """What was seen of a layer's input.

    Attributes:
        largest: Largest absolute value.
        signed: Whether any value was negative.
        counts: Histogram over [0, largest], or [-largest, largest] if signed, float32 `[HISTOGRAM_BINS]`.
    """

    largest: float
    signed: bool
    counts: torch.Tensor

    @classmethod
    def of(cls, values: torch.Tensor) -> InputRange:
        """Sums up the values of one tensor."""
        low, high = (float(edge) for edge in values.aminmax())
        largest, signed = max(abs(low), abs(high)), low < 0
        counts = torch.zeros(HISTOGRAM_BINS)
        if largest > 0:
            counts = torch.histc(values.float(), HISTOGRAM_BINS, -largest if signed else 0.0, largest)
        return cls(largest, signed, counts)

    def scale(self, bits: int) -> float:
        """Returns the scale of least squared error, positive; 1 for an input of zeros."""
        low, high = integer_range(bits, self.signed)
        lowest = -self.largest if self.signed else 0.0
        middles = lowest + (torch.arange(HISTOGRAM_BINS) + 0.5) * ((self.largest - lowest) / HISTOGRAM_BINS)
        scales = _usable(self.largest / high * torch.arange(CANDIDATES, 0, -1) / CANDIDATES)[:, None]
        rounded = (middles / scales).round().clamp(low, high) * scales
        errors = ((rounded - middles).square() * self.counts).double().sum(1)
        return float(scales[errors.argmin()])


class InputQuantiser:
    """A forward pre-hook that rounds a layer's input; gradients go straight through within the range."""

    def __init__(self, seen: InputRange, bits: int) -> None:
        """Finds the scale."""
        self.scale, (self.low, self.high) = seen.scale(bits), integer_range(bits, seen.signed)
        self._steps = float(1 / torch.tensor(self.scale))

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        """Rounds the input."""
        return (_Rounding.apply(inputs[0], self),)

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """Returns `scale * clip(round(x / scale))`; many times as fast as torch's `fake_quantize`."""
        return torch.mul(x, self._steps).round_().clamp_(self.low, self.high).mul_(self.scale)


class _Rounding(torch.autograd.Function):
    """Rounds; the gradient of what is not clipped goes straight through."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, quantiser: InputQuantiser) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.ends = (quantiser.low - 0.5) * quantiser.scale, (quantiser.high + 0.5) * quantiser.scale
        return quantiser.rounded(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.ops.aten.hardtanh_backward(gradient, *ctx.saved_tensors, *ctx.ends), None


class _StraightThrough(nn.Module):
    """A parametrisation by which a weight is trained in full precision and used rounded."""

    def __init__(self, scales: torch.Tensor, bits: int) -> None:
        super().__init__()
        self.scales, self.bits = scales, bits

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return quantised_weight(weight, self.scales, self.bits)


def input_ranges(module: nn.Module, layers: Iterable[str], images: torch.Tensor) -> dict[str, InputRange]:
    """Sees what enters layers of a model in evaluation mode, while images pass in one batch.

    Raises:
        ValueError: There are no images.
    """
    if not len(images):
        raise ValueError("ranges=0 images: the ranges of quantised inputs need training images")
    seen: dict[str, InputRange] = {}

    def watch(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(target: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen[name] = InputRange.of(inputs[0])

        return hook

    run_with_hooks(module, {name: watch(name) for name in layers}, [images], before=True)
    return seen


def quantise(
    module: nn.Module,
    bits: Mapping[str, tuple[int, int]],
    seen: Mapping[str, InputRange],
    trainable: bool = False,
    find_scales: Callable[[torch.Tensor, int], torch.Tensor] = weight_scales,
) -> nn.Module:
    """Makes layers compute with rounded weights and inputs, in place.

    Args:
        module: A model in full precision.
        bits: Layer name to bits of its weights and of its input; `FLOAT_BITS` leaves them.
        seen: From `input_ranges`.
        trainable: Keep the weights in full precision beside the rounded ones, until `settle` drops them.
        find_scales: `weight_scales`, or a `RememberedScales`.
    """
    for name, (weight_bits, input_bits) in bits.items():
        target: Any = module.get_submodule(name)
        if weight_bits != FLOAT_BITS:
            scales = find_scales(target.weight, weight_bits)
            target.weight_scales, target.weight_bits = scales, weight_bits  # what `export_quantised` asks for
            if trainable:
                parametrize.register_parametrization(target, "weight", _StraightThrough(scales, weight_bits))
            else:
                with torch.no_grad():
                    target.weight.copy_(quantised_weight(target.weight, scales, weight_bits))
        if input_bits != FLOAT_BITS:
            target.register_forward_pre_hook(InputQuantiser(seen[name], input_bits))
    return module


def settle(module: nn.Module) -> nn.Module:
    """Replaces the weights of a model that was quantised as trainable by the rounded ones, in place."""
    for target in module.modules():
        if parametrize.is_parametrized(target, "weight"):
            parametrize.remove_parametrizations(target, "weight", leave_parametrized=True)
    return module


def _usable(scales: torch.Tensor) -> torch.Tensor:
    """Replaces scales too small to divide by; what they belong to rounds to 0."""
    return torch.where(scales < torch.finfo(torch.float32).tiny, torch.ones_like(scales), scales)
