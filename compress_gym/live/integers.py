"""Quantised convolutions computed on integers: several times as fast where a processor has instructions for them.

Integers of at most 8 bits are multiplied and summed exactly (x86: VNNI or AMX); a float convolution of rounded numbers
rounds its sums, so that a later layer may round to another integer. Without such instructions oneDNN's sums can
saturate, so floats are used there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from compress_gym.live.quantise import InputQuantiser, InputRange
from compress_gym.support.processor import int8_supported


class IntegerConvolution:
    """Rounds an input and convolves it, as a quantised convolution and its `InputQuantiser` do."""

    def __init__(self, convolution: nn.Conv2d, scales: torch.Tensor, quantiser: InputQuantiser) -> None:
        """Takes a convolution's integers.

        Args:
            convolution: Its weights are multiples of `scales`.
            scales: Of each output channel, of any sign, float32 `[out]`; 0 where all weights are 0.
            quantiser: Of its input, unsigned.
        """
        self._scales = torch.where(scales == 0, 1.0, scales.abs())
        integers = (convolution.weight.detach() / self._scales[:, None, None, None]).round_().clamp_(-127, 127)
        self._integers, self._quantiser = integers.to(torch.int8), quantiser
        self._bias = None if convolution.bias is None else convolution.bias.detach()
        self._zeros = torch.zeros(len(scales), dtype=torch.int32)
        self._geometry = (convolution.stride, convolution.padding, convolution.dilation, convolution.groups)
        self._packed: torch.Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what cannot be copied: it is packed again."""
        return {**self.__dict__, "_packed": None}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 `[N, in, H, W]` to `[N, out, H', W']`; no gradients pass."""
        step, operations = self._quantiser.scale, torch.ops.onednn
        quantised = torch.quantize_per_tensor(x, step, 0, torch.quint8)
        # As `int_repr`, without a copy.
        rounded = torch.empty(0, dtype=torch.uint8)
        rounded.set_(quantised.untyped_storage(), 0, quantised.shape, quantised.stride())
        if self._quantiser.high < 255:
            rounded.clamp_(max=self._quantiser.high)
        if self._packed is None:
            self._packed = operations.qconv_prepack(
                self._integers, self._scales, step, 0, *self._geometry, list(x.shape)
            )
        weight = (self._packed, self._scales, self._zeros, self._bias)
        # The output is float32: its scale and zero point are not used, and nothing is fused.
        y: torch.Tensor = operations.qconv2d_pointwise(
            rounded, step, 0, *weight, *self._geometry, 1.0, 0, torch.float32, "none", [], ""
        )
        return y


def integer_convolution(target: nn.Module) -> IntegerConvolution | None:
    """Returns what computes a quantised convolution on integers; `None` where floats have to.

    Args:
        target: A layer, see `quantise`: its weights' scales hang on it, and a hook that rounds its input. One with
            other hooks, or another forward, is left to floats.
    """
    scales: Any = getattr(target, "weight_scales", None)
    hooks = list(target._forward_pre_hooks.values())
    if type(target) is not nn.Conv2d or scales is None or "forward" in target.__dict__:
        return None
    if len(hooks) != 1 or not isinstance(hooks[0], InputQuantiser) or hooks[0].low < 0:
        return None
    if target.padding_mode != "zeros" or isinstance(target.padding, str) or not integers_serve():
        return None
    return IntegerConvolution(target, scales, hooks[0])


@contextmanager
def integer_convolutions(module: nn.Module) -> Iterator[None]:
    """Lets a quantised model compute on integers meanwhile, wherever it can; no gradients pass."""
    replaced: list[tuple[Any, Any]] = []
    try:
        for target in module.modules():
            integer: Any = integer_convolution(target)
            if integer is not None:
                replaced.append((target, target._forward_pre_hooks.copy()))
                target._forward_pre_hooks.clear()
                target.forward = integer
        yield
    finally:
        for target, hooks in replaced:
            target._forward_pre_hooks.update(hooks)
            del target.forward


@cache
def integers_serve() -> bool:
    """Returns whether the processor has the instructions, and torch's operations give the numbers of floats."""
    if not int8_supported():
        return False
    generator = torch.Generator().manual_seed(0)
    # Initial weights would be drawn from the generator that learners draw from.
    convolution = nn.utils.skip_init(nn.Conv2d, 8, 8, 3, padding=1, bias=False)
    scales = torch.rand(8, generator=generator) + 0.5
    integers = torch.randint(-127, 128, convolution.weight.shape, generator=generator)
    convolution.weight.data = integers * scales[:, None, None, None]
    x = torch.rand(2, 8, 6, 6, generator=generator).contiguous(memory_format=torch.channels_last)
    quantiser = InputQuantiser(InputRange.of(x), 8)
    with warnings.catch_warnings(), torch.no_grad():
        # torch means to remove quantised tensors one day; this is where that would be found out.
        warnings.simplefilter("ignore")
        try:
            found = IntegerConvolution(convolution, scales, quantiser)(x)
        except (AttributeError, RuntimeError):
            return False
        (rounded,) = quantiser(convolution, (x,))
        expected = F.conv2d(rounded.double(), convolution.weight.double(), padding=1)
    return torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
