"""Bias correction (Nagel et al., "Data-Free Quantization", 2019, section 4.2), measured on training images.

Rounding shifts the mean of a layer's outputs. Each output channel's bias is moved so that its mean is that of the
network in full precision, layer after layer: later layers already see what earlier ones were corrected to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from compress_gym.live.hooks import run_with_hooks


def output_means(module: nn.Module, layers: Iterable[str], images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns the mean of each output channel of some layers of a model in full precision: name to float32 `[out]`."""
    means: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(target: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            means[name] = _mean(output)

        return hook

    run_with_hooks(module, {name: watch(name) for name in layers}, [images])
    return means


def correct_biases(module: nn.Module, means: Mapping[str, torch.Tensor], images: torch.Tensor) -> nn.Module:
    """Moves biases so that output channels have these means again, in place; layers without a bias get one.

    The means are those of the same model on the same images before it was quantised.
    """

    def correct(name: str) -> Callable[..., torch.Tensor]:
        def hook(target: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            shift = means[name] - _mean(output)
            before = 0 if target.bias is None else target.bias.detach()
            target.bias = nn.Parameter(before + shift)
            return output + shift.reshape(-1, *[1] * (output.dim() - 2))

        return hook

    run_with_hooks(module, {name: correct(name) for name in means}, [images])
    return module


def _mean(output: torch.Tensor) -> torch.Tensor:
    """Mean of each channel of `[N, channels, ...]`."""
    return output.transpose(0, 1).flatten(1).mean(1)
