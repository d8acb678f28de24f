"""VGG-16 with batch norm for CIFAR (arXiv 1409.1556, configuration D; the CIFAR variant has one linear layer)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions in five stages, each followed by a 2x2 max pooling; ten classes."""

    def __init__(self) -> None:
        """Builds the five stages and the head."""
        super().__init__()
        channels, stages = 3, OrderedDict[str, nn.Module]()
        for stage, (width, convolutions) in enumerate(_STAGES, 1):
            layers = OrderedDict[str, nn.Module]()
            for number in range(1, convolutions + 1):
                layers[f"conv{number}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                layers[f"bn{number}"] = nn.BatchNorm2d(width)
                layers[f"relu{number}"] = nn.ReLU(inplace=True)
                channels = width
            layers["pool"] = nn.MaxPool2d(2)
            stages[f"stage{stage}"] = nn.Sequential(layers)
        self.features = nn.Sequential(stages)
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images `[N, 3, 32, 32]` to logits `[N, 10]`."""
        return self.fc(torch.flatten(self.features(x), 1))
