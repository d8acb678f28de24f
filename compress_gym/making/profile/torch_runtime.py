"""torch on this machine: operations and networks as functions to be timed."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from compress_gym.devices.operations import Operation
from compress_gym.making.profile.timing import Timed
from compress_gym.support.processor import bf16_supported

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(precision: str, cuda: bool) -> torch.dtype:
    """Returns the type that a precision computes in.

    Raises:
        ValueError: torch or this processor does not compute in it.
    """
    if precision not in DTYPES or (precision == "fp16" and not cuda):
        legal = [name for name in DTYPES if cuda or name != "fp16"]
        raise ValueError(f"precision={precision!r} cannot be measured under torch here; legal: {', '.join(legal)}")
    if cuda and not torch.cuda.is_available():
        raise ValueError("--cuda was given, but torch finds no CUDA device")
    if precision == "bf16" and not cuda and not bf16_supported():
        raise ValueError("precision='bf16', but this processor does not multiply bfloat16; use fp32")
    return DTYPES[precision]


def timed_module(module: nn.Module, inputs: tuple[tuple[int, ...], ...], precision: str, cuda: bool) -> Timed:
    """Returns a module as a function of nothing that runs it once on fixed random inputs, and waits for the result.

    Args:
        module: In evaluation mode; it is copied.
        inputs: Shapes of its inputs, batch included.
        precision: A name of `DTYPES`.
        cuda: Whether to run on the first CUDA device.
    """
    dtype, device = check_precision(precision, cuda), "cuda" if cuda else "cpu"
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator).to(device, dtype) for shape in inputs]
    tensors = [t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in tensors]
    moved: Any = copy.deepcopy(module).eval().to(device, dtype)
    moved = moved.to(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode():
            result = moved(*tensors)
        if cuda:
            torch.cuda.synchronize()
        return result

    return run


def operation_module(operation: Operation) -> tuple[nn.Module, tuple[tuple[int, ...], ...]]:
    """Builds one operation as a module, with the shapes of its inputs.

    Raises:
        ValueError: The kind is not known to this runtime.
    """
    o = operation
    image = (o.batch, o.in_channels, o.in_height, o.in_width)
    if o.kind in ("conv", "depthwise"):
        conv = nn.Conv2d(o.in_channels, o.out_channels, o.kernel, o.stride, o.kernel // 2, groups=o.groups)
        return nn.Sequential(conv, nn.ReLU(inplace=True)), (image,)
    if o.kind == "linear":
        features = o.in_channels * o.in_height * o.in_width
        return nn.Linear(features, o.out_channels), ((o.batch, features),)
    if o.kind in ("add", "multiply"):
        return _Pairwise(o.kind), (image, image)
    if o.kind == "concat":
        half = (o.batch, max(1, o.in_channels // 2), o.in_height, o.in_width)
        return _Pairwise(o.kind), (half, half)
    simple: dict[str, nn.Module] = {
        "batch-norm": nn.Sequential(nn.BatchNorm2d(o.in_channels), nn.ReLU(inplace=True)),
        "max-pool": nn.MaxPool2d(o.kernel, o.stride),
        "avg-pool": nn.AvgPool2d(o.kernel, o.stride),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "layout": nn.Identity(),
        "call": nn.Identity(),
    }
    if o.kind not in simple:
        raise ValueError(f"kind={o.kind!r} cannot be measured under torch")
    return simple[o.kind], (image,)


class _Pairwise(nn.Module):
    """A sum or product with its ReLU, or a concatenation."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        if self.kind == "concat":
            return torch.cat([x, z], 1)
        return torch.relu_(x + z if self.kind == "add" else x * z)
