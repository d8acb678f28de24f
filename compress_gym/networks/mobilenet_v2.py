"""MobileNetV2 (arXiv 1801.04381) with the strides customary for CIFAR: 32 pixels in the first stages, 4 in the last."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

# Expansion, channels, blocks, stride of the first block: table 2 of the paper, the first strides set to 1.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_STEM, _HEAD = 32, 1280


class InvertedResidual(nn.Module):
    """Expansion by a 1x1 convolution, depth-wise 3x3 convolution, linear projection by a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        """Builds the three convolutions; where shapes agree there is a shortcut around them."""
        super().__init__()
        hidden = in_channels * expansion
        self.expand = _unit(in_channels, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _unit(hidden, hidden, 3, stride, groups=hidden)
        self.project = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(hidden, out_channels, 1, bias=False), bn=nn.BatchNorm2d(out_channels))
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[N, in_channels, H, W]` to `[N, out_channels, H / stride, W / stride]`."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """A stem, seven stages of inverted residuals, a 1x1 convolution to 1,280 channels; ten classes."""

    def __init__(self) -> None:
        """Builds the network."""
        super().__init__()
        self.stem = _unit(3, _STEM, 3)
        channels, stages = _STEM, OrderedDict[str, nn.Module]()
        for number, (expansion, width, blocks, first_stride) in enumerate(_STAGES, 1):
            named = OrderedDict[str, nn.Module]()
            for block in range(blocks):
                named[f"block{block + 1}"] = InvertedResidual(channels, width, expansion, 1 if block else first_stride)
                channels = width
            stages[f"stage{number}"] = nn.Sequential(named)
        self.stages = nn.Sequential(stages)
        self.head = _unit(channels, _HEAD, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(_HEAD, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images `[N, 3, 32, 32]` to logits `[N, 10]`."""
        x = self.head(self.stages(self.stem(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


def _unit(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels), relu=nn.ReLU6(inplace=True)))
