"""ResNet-18 (arXiv 1512.03385) with the stem customary for CIFAR: one 3x3 convolution, no pooling before the stages."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from compress_gym.networks.cifar_resnet import Block

_WIDTHS = (64, 128, 256, 512)


class ResNet18(nn.Module):
    """Four stages of two blocks, 64 to 512 channels at 32 to 4 pixels; ten classes."""

    def __init__(self) -> None:
        """Builds the stem, the four stages and the head."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        channels, stages = _WIDTHS[0], OrderedDict[str, nn.Module]()
        for stage, width in enumerate(_WIDTHS):
            stages[f"stage{stage + 1}"] = nn.Sequential(
                OrderedDict(
                    block1=Block(channels, width, 2 if stage else 1, shortcut=True),
                    block2=Block(width, width, 1, shortcut=True),
                )
            )
            channels = width
        self.stages = nn.Sequential(stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images `[N, 3, 32, 32]` to logits `[N, 10]`."""
        x = self.stages(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.pool(x), 1))
