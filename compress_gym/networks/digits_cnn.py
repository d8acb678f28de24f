"""The plain convolutional network of the embedded task `digits-cnn`: five 3x3 convolutions, 6.6 M MACs."""

from __future__ import annotations

import torch
from torch import nn


class DigitsCNN(nn.Module):
    """32-32-64-64-64 channels at 16, 16, 8, 8, 4 pixels; global pooling; ten classes."""

    def __init__(self) -> None:
        """Builds the five convolutions and the head."""
        super().__init__()
        self.conv1, self.bn1 = _conv(1, 32), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = _conv(32, 32), nn.BatchNorm2d(32)
        self.conv3, self.bn3 = _conv(32, 64, stride=2), nn.BatchNorm2d(64)
        self.conv4, self.bn4 = _conv(64, 64), nn.BatchNorm2d(64)
        self.conv5, self.bn5 = _conv(64, 64, stride=2), nn.BatchNorm2d(64)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images `[N, 1, 16, 16]` to logits `[N, 10]`."""
        x = torch.relu_(self.bn1(self.conv1(x)))
        x = torch.relu_(self.bn2(self.conv2(x)))
        x = torch.relu_(self.bn3(self.conv3(x)))
        x = torch.relu_(self.bn4(self.conv4(x)))
        x = torch.relu_(self.bn5(self.conv5(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
