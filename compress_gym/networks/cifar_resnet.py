"""He et al.'s networks for CIFAR (arXiv 1512.03385, section 4.2): Plain-20, ResNet-20 and ResNet-56.

Three stages of 16, 32 and 64 channels at 32, 16 and 8 pixels, 3x3 convolutions throughout. Where a stage changes the
number of channels, the shortcut is a 1x1 convolution (option B of the paper), not the padded identity of its CIFAR
experiments (option A): with it the channels of a stage are one group, as in the pruning literature's ResNet-56.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

_WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3x3 convolutions, with or without a shortcut around them."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: bool) -> None:
        """Builds the convolutions; the shortcut is the identity where shapes agree."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.residual = shortcut
        self.shortcut: nn.Sequential | None = None
        if shortcut and (stride != 1 or in_channels != out_channels):
            projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=projection, bn=nn.BatchNorm2d(out_channels)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[N, in_channels, H, W]` to `[N, out_channels, H / stride, W / stride]`."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.residual:
            y = y + (x if self.shortcut is None else self.shortcut(x))
        return torch.relu(y)


class CifarResNet(nn.Module):
    """A first convolution, three stages of blocks, global pooling, and ten classes."""

    def __init__(self, blocks: int, shortcut: bool) -> None:
        """Builds the network.

        Args:
            blocks: Blocks a stage; the depth is 6 * blocks + 2.
            shortcut: Whether the blocks have shortcuts; without them it is a Plain net.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        channels = _WIDTHS[0]
        stages = []
        for stage, width in enumerate(_WIDTHS):
            named = OrderedDict[str, nn.Module]()
            for block in range(blocks):
                named[f"block{block + 1}"] = Block(channels, width, 2 if stage and not block else 1, shortcut)
                channels = width
            stages.append(nn.Sequential(named))
        self.stage1, self.stage2, self.stage3 = stages
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images `[N, 3, 32, 32]` to logits `[N, 10]`."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


def plain20() -> CifarResNet:
    """Builds Plain-20."""
    return CifarResNet(blocks=3, shortcut=False)


def resnet20() -> CifarResNet:
    """Builds ResNet-20."""
    return CifarResNet(blocks=3, shortcut=True)


def resnet56() -> CifarResNet:
    """Builds ResNet-56."""
    return CifarResNet(blocks=9, shortcut=True)
